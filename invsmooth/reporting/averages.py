"""Averages of result rows: of each image over the runs first, then over the images, so that every
image counts once. No loop over rows: 500 runs take seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.rows import Declared
from invsmooth.reporting.columns import certifier, certifiers, columns
from invsmooth.reporting.methods import in_order, set_draws, with_labels

PLACE = ["task", "dataset", "operator", "ratio", "sigma_b"]
SETTING = [*PLACE, "units", "attack", "attack_target", "protocol"]
"""The columns that compared methods have in common, beside the number of draws."""
PANEL = ["task", "label", "dataset", "operator", "ratio", "sigma_b", "units", "attack", "attack_target"]
"""The columns of a panel that shows one method. Its label has protocol and number of draws."""
KEYS = [*SETTING, "n_samples", "algo", "method", "label", "certifier", "eps", "sigma"]
"""The columns whose values are never averaged together."""

BASE = ["psnr_measured", "psnr_clean", "psnr_attacked", "psnr_noise", "psnr_median", "psnr_certified", "psnr_floor",
        "floor_confidence", "bound", "truth", "truth_lower", "truth_upper", "eps_over_sigma", "seconds", "network_evals",
        "attack_grad_evals"]  # fmt: skip

TRUTH = ["truth", "truth_lower", "truth_upper"]


class Averages:
    """The averages of rows.

    Attributes:
        table: one line for each KEYS, in the order of tables: sigma_tr, for each quantity (BASE,
            those that certifiers declare, the truth in dB as ``truth_psnr``) its mean, …_std (over
            the images, divided by their number) and …_n (images that have one); images, runs,
            networks, rows, sound, folders; ``certified``: images that have a certificate.
        rows: as they were given, completed by :func:`.methods.with_labels`.
        certified, decibels: the quantities that are certified, and those in dB.
        per_image: for each line of ``table`` and image the means over the runs; by (cell, image).
    """

    def __init__(self, rows: pd.DataFrame, declared: Declared) -> None:
        rows = with_labels(rows)
        self.rows, self.declared = rows, declared
        self.certified = {"bound", *(c.name for d in declared.certifiers.values() for c in d.columns if c.certified)}
        self.decibels = {c.name for c in columns(declared).values() if c.unit == "dB"}
        of_certifiers = [c.name for d in declared.certifiers.values() for c in d.columns if c.kind in ("real", "whole")]
        quantities = list(dict.fromkeys([*BASE, *of_certifiers]))
        values = rows.reindex(columns=quantities).apply(pd.to_numeric).astype("float64")
        values[TRUTH] = values[TRUTH].replace([np.inf, -np.inf], np.nan)  # a limit that the draws did not give
        # In PSNR the larger MSE is the lower limit.
        psnr_of = {"truth_psnr": "truth", "truth_psnr_lower": "truth_upper", "truth_psnr_upper": "truth_lower"}
        for name, of in psnr_of.items():
            values[name] = -10 * np.log10(values[of].where(values[of] > 0))
        keys = rows[KEYS].assign(n_samples=set_draws(rows))
        number = keys.groupby(KEYS, dropna=False, sort=True).ngroup().rename("cell")
        self.per_image = values.groupby([number, rows["image"]], sort=True).mean()
        groups = self.per_image.groupby(level="cell")
        once = ~number.duplicated()
        firsts = keys[once].assign(sigma_tr=rows["sigma_tr"]).set_axis(number[once])
        counted = rows.groupby(number).agg(
            runs=("folder", "nunique"), networks=("estimator_sha256", "nunique"), rows=("image", "size"),
        )  # fmt: skip
        counted["sound"] = rows["sound"].eq(True).where(rows["bound"].notna()).groupby(number).min()
        folders = rows[["folder"]].assign(cell=number).drop_duplicates().sort_values(["cell", "folder"])
        counted["folders"] = folders.groupby("cell")["folder"].agg(";".join)
        counts, deviations = groups.count().add_suffix("_n"), groups.std(ddof=0).add_suffix("_std")
        table = pd.concat([firsts, groups.mean(), deviations, counts, groups.size().rename("images"), counted], axis=1)
        ranks = {m: k for k, m in enumerate(in_order(table, declared))}
        places = {c.name: k for k, c in enumerate(certifiers(declared, table["certifier"]))}
        keys = table.assign(method=table["method"].map(ranks), certifier=table["certifier"].map(places))
        order = ["task", "method", *(c for c in KEYS if c not in ("task", "method", "certifier")), "certifier"]
        texts = table.columns[[isinstance(kind, pd.StringDtype) for kind in table.dtypes]]
        table = table.astype(dict.fromkeys(texts, object)).copy()  # as in read_rows; the copy has few blocks
        self.table = table.assign(certified=table["bound_n"]).loc[keys.sort_values(order).index]

    def certifiers(self, table: pd.DataFrame | None = None) -> list[Any]:
        """The declarations of the certifiers of the averages, or of some of them, in order."""
        return certifiers(self.declared, (self.table if table is None else table)["certifier"])

    def blocks(self, keys: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """As :func:`grouped`. Certifiers of one value for all eps only where no others are. Lines
        without sigma: as in :func:`in_panels` if ``keys`` have sigma, else in blocks of their own."""
        own = self.table[[certifier(self.declared, name).per_eps for name in self.table["certifier"]]]
        lines = own if len(own) else self.table
        found = grouped(in_panels(lines, keys) if "sigma" in keys else lines, keys)
        return [(dict(zip(keys, key, strict=True)), lines) for key, lines in found]


def grouped(frame: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The lines that have ``keys`` in common, with these; in order. Unknown is a value, too."""
    groups: Any = frame.groupby(keys, dropna=False, sort=True)
    return list(groups)


def lookup(lines: pd.DataFrame, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Lines of :attr:`Averages.table` by the values of ``keys``, None for nan; of several the first."""
    once = lines.drop_duplicates(keys)
    # to_dict("records") takes several times as long.
    records = [dict(zip(once.columns, line, strict=True)) for line in once.to_numpy(dtype=object)]
    return {tuple(known(record[key]) for key in keys): record for record in records}


def known(value: Any) -> Any:
    """None for nan, which is not equal to itself."""
    return None if pd.isna(value) else value


def in_panels(lines: pd.DataFrame, panel: list[str]) -> pd.DataFrame:
    """Lines of :attr:`Averages.table` for a figure or table with a panel for each value of ``panel``.
    What has no sigma holds at every sigma: it stands in every panel of its setting, and of its
    method if a panel has one; where there is none, in a panel of its own."""
    plain = lines["sigma"].isna()
    same = [*PLACE, "protocol", *["method"] * ("label" in panel), *["eps"] * ("eps" in panel)]
    panels = lines.loc[~plain, [*same, *(c for c in panel if c not in same)]].drop_duplicates()
    own = (
        lines[plain]
        .reset_index(names="cell")
        .merge(panels, on=same, how="left", suffixes=("", " of the panel"), indicator=True)
    )
    for column in (c for c in ("attack", "attack_target") if f"{c} of the panel" in own):
        # The attack of another panel.
        other = own["_merge"].eq("both") & ~own[column].fillna("").eq(own[f"{column} of the panel"].fillna(""))
        found = [str(c) for c in own if str(c).startswith(("psnr_attacked", "truth"))]
        own[found] = own[found].mask(other)
    for column in (c for c in panel if c not in same):
        own[column] = own[f"{column} of the panel"].where(own["_merge"].eq("both"), own[column])
    own = own.sort_values("psnr_attacked_n", kind="stable").drop_duplicates([*panel, "method", "certifier", "eps"])
    return pd.concat([lines[~plain], own.set_index("cell")[lines.columns]]) if len(own) else lines


def title(setting: Mapping[str, Any]) -> str:
    """A setting in words."""
    return ", ".join([f"{setting['task']} on {setting['dataset']}", *parts(setting)])


def panel_title(panel: Mapping[str, Any]) -> str:
    """A setting of one method in words, in two lines."""
    return f"{panel['task']}, {panel['label']} ({panel['dataset']})\n{', '.join(parts(panel))}"


def parts(setting: Mapping[str, Any]) -> list[str]:
    """The known values of a setting beside task and data set. The usual attack is not named."""
    symbols = {"ratio": "m/n", "sigma_b": "σ_b", "eps": "ε", "sigma": "σ", "n_samples": "S"}
    found = [f"{symbol} = {setting[name]:g}" for name, symbol in symbols.items() if pd.notna(setting.get(name))]
    attack, target = setting.get("attack"), setting.get("attack_target")
    if pd.notna(attack) and (attack, target) != ("pgd", "base"):
        found.append(f"{attack} on {target}")
    return [*found, *([setting["protocol"]] if setting.get("protocol") else [])]


def soundness(lines: pd.DataFrame, of: str) -> str:
    """Whether the certificates of some averages hold. ``of``: discrepancy or PSNR."""
    certified = lines[lines["bound_n"] > 0]
    if lines["units"].eq(Units.paper).any():
        return f"certified {of} {PAPER_LABEL}"
    if certified.empty:
        return "no certificate exists"
    return f"certified {of}: {'sound' if certified['sound'].eq(True).all() else 'not always sound'}"


def best_sigma(lines: pd.DataFrame, certifier: str, quantity: str = "psnr_median") -> float:
    """The sigma > 0 with the largest mean over the methods of ``quantity`` where there is a
    certificate, or of the smoothed PSNR where there is none; among those sigma that all methods
    have (where there are none: that some have). nan where there is none."""
    own = lines[(lines["certifier"] == certifier) & (lines["sigma"] > 0)]
    places = list(zip(own["sigma"], own["method"], strict=True))
    tables = []
    for values in (own[quantity].where(own["bound_n"] > 0), own["psnr_median"]):
        table: dict[float, dict[str, float]] = {}
        for (sigma, method), value in zip(places, values, strict=True):
            if value == value:
                table.setdefault(sigma, {}).setdefault(method, value)
        tables.append(table)
    of_all = [{s: own for s, own in table.items() if len(own) == len(set().union(*table.values()))} for table in tables]
    for table in filter(None, [*of_all, *tables]):
        means = {sigma: math.fsum(own.values()) / len(own) for sigma, own in sorted(table.items())}
        return max(means, key=lambda sigma: means[sigma])
    return math.nan
