"""Result rows to cells: the mean over the images of what was computed for each image, and what it is the mean of.

Seeds are averaged for each image first, so that every image counts once. No loop over rows: 500 runs take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from invsmooth.core.units import PAPER_LABEL, Units

SETTING = ["task", "dataset", "operator", "ratio", "sigma_b", "units", "attack", "attack_target", "protocol"]
"""What the methods that are compared have in common, beside the number of draws."""

WHICH = ["n_samples", "algo", "method", "certifier", "eps", "sigma"]
CELL = [*SETTING, *WHICH]

QUANTITIES = [
    "psnr_clean", "psnr_attacked", "psnr_median", "psnr_certified", "discrepancy_median", "bound", "certified_psnr",
    "certified_psnr_mean", "seconds", "network_evals", "attack_grad_evals",
]  # fmt: skip

CERTIFIED = ("bound", "certified_psnr", "certified_psnr_mean")
"""What is certified."""
RANKED = "psnr_certified"
"""The PSNR of the draw of rank K: of one picture, it bounds nothing. Where there is no such rank a row lacks it."""


class Cells:
    """The cells of rows that :func:`invsmooth.reporting.methods.with_methods` completed.

    Attributes:
        table: one line for each cell: CELL, sigma_tr, for each quantity its mean, …_std (over the images, divided by their
            number) and …_n (images that have one); images, runs, networks, rows, sound, folders.
        rows: as they were given.
        per_image: for each cell and image the means over the runs; index (cell, image), cell being the line of ``table``.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        rows = rows.assign(
            # A radius that is decided stops at another number of draws for each image.
            n_samples=rows["n_samples"].astype("Float64").mask(rows["certifier"].eq("radius")).astype("float64"),
            **{name: pd.to_numeric(rows[name]).astype("float64") for name in QUANTITIES},
        )
        self.rows = rows
        by_cell = rows.groupby(CELL, dropna=False, sort=True)
        number = by_cell.ngroup().rename("cell")
        self.per_image = rows[QUANTITIES].groupby([number, rows["image"]], sort=True).mean()
        groups = self.per_image.groupby(level="cell")
        firsts = rows.loc[~number.duplicated(), [*CELL, "sigma_tr"]].set_axis(number[~number.duplicated()]).sort_index()
        counted = rows.groupby(number).agg(
            runs=("folder", "nunique"), networks=("estimator_sha256", "nunique"), rows=("image", "size"),
        )  # fmt: skip
        certified = rows["bound"].notna()
        counted["sound"] = rows["sound"].eq(True).where(certified).groupby(number).min()
        once = rows[["folder"]].assign(cell=number).drop_duplicates().sort_values(["cell", "folder"])
        counted["folders"] = once.groupby("cell")["folder"].agg(";".join)
        self.table = pd.concat(
            [
                firsts, groups.mean(), groups.std(ddof=0).add_suffix("_std"), groups.count().add_suffix("_n"),
                groups.size().rename("images"), counted,
            ],
            axis=1,
        )  # fmt: skip

    def blocks(self, keys: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """The lines of ``table`` that have ``keys`` in common, with these; in order. Without those of ``radius``, which
        repeats another certifier, where there is one."""
        own = self.table[self.table["certifier"] != "radius"]
        return [
            (dict(zip(keys, key, strict=True)), lines) for key, lines in grouped(own if len(own) else self.table, keys)
        ]


def grouped(frame: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The lines that have ``keys`` in common, with these; in order. What is not known is a value like any other."""
    groups: Any = frame.groupby(keys, dropna=False, sort=True)
    return list(groups)


def lookup(lines: pd.DataFrame, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Lines of :attr:`Cells.table` by the values of ``keys``; of several the first."""
    records: list[dict[str, Any]] = lines.drop_duplicates(keys).to_dict("records")  # type: ignore[assignment]
    return {tuple(record[key] for key in keys): record for record in records}


def title(setting: Mapping[str, Any]) -> str:
    """A setting in words."""
    parts = [
        f"{setting['task']} on {setting['dataset']}",
        f"m/n = {setting['ratio']:g}",
        f"σ_b = {setting['sigma_b']:g}",
    ]
    for name, symbol in {"eps": "ε", "sigma": "σ", "n_samples": "S"}.items():
        if pd.notna(setting.get(name)):
            parts.append(f"{symbol} = {setting[name]:g}")
    # The usual attack goes without saying.
    if pd.notna(setting["attack"]) and (setting["attack"], setting["attack_target"]) != ("pgd", "base"):
        parts.append(f"{setting['attack']} on {setting['attack_target']}")
    return ", ".join([*parts, *([setting["protocol"]] if setting["protocol"] else [])])


def soundness(lines: pd.DataFrame, of: str) -> str:
    """Whether what is certified in some cells holds as it is. ``of``: what is, the discrepancy or PSNR."""
    if lines["units"].eq(Units.paper).any():
        return f"certified {of} {PAPER_LABEL}"
    certified = lines[lines["bound_n"] > 0]
    if certified.empty:
        return "no certificate exists"
    if certified["sound"].eq(True).all():
        return f"certified {of}: sound"
    return f"certified {of}: not always sound"


def best_sigma(lines: pd.DataFrame, certifier: str, quantity: str = "psnr_median") -> float:
    """The sigma > 0 with the largest mean over the methods of ``quantity`` where there is a certificate, or of the smoothed
    PSNR where there is none; among those sigma that all methods have (where there are none: that some have). nan where
    there is none."""
    own = lines[(lines["certifier"] == certifier) & (lines["sigma"] > 0)]
    found = own["psnr_median"], own[quantity].where(own["bound_n"] > 0)
    tables = [own.assign(value=v).pivot_table("value", "method", "sigma", aggfunc="first") for v in reversed(found)]
    for table in (*(table.dropna(axis=1) for table in tables), *tables):
        if table.notna().to_numpy().any():
            best: Any = table.mean().idxmax()
            return float(best)
    return float("nan")
