"""The table of networks: clean, attacked and certified PSNR of each under one protocol (docs/robustness.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.core.errors import ConfigError
from invsmooth.core.units import Units
from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import Averages, grouped
from invsmooth.reporting.columns import certifiers, psnr_columns, repeats
from invsmooth.reporting.methods import differing
from invsmooth.reporting.runs import Run, Settings, chosen
from invsmooth.reporting.tables.grid import MISSING, NONE, Block, Entry, Markdown, Table, entry

NAME = "robustness"
PLACE = ["task", "dataset", "operator", "ratio", "sigma_b"]
PROTOCOL = ("attack.", "certify.", "certificate.units", "operator.noise_seed", "data.crop", "seed")
NOT_PROTOCOL = ("attack._target_", "attack.chunk_size", "certify._target_", "certify.chunk_size", "certify.pictures",
                "certify.files", "certify.pixel_intervals", "certify.floor_confidence")  # fmt: skip
"""Settings that do not change the numbers of this table."""
SHOWN = ("attack.name", "attack.n_iter", "attack.restarts", "certify.certifiers", "certify.sigma", "certify.n_samples",
         "certify.confidence", "data.crop", "operator.noise_seed")  # fmt: skip
GRADIENT = "estimator.gradient"
WEAK = " (weak)"
NOTES = (
    "PSNR in dB, means over the images, which are the same for all networks of a block. ε: l2 norm of the attack over one "
    "whole image, pixels in [0, 1]. Attacked: what the attack that was found leaves, of the network itself: an upper bound "
    "of its robustness. Certified: what no attack leaves less than, by the certifier with the largest mean. lipschitz: of "
    "the reconstruction itself, for sure. error: of at least half of the smoothed reconstructions at σ (grey levels), for "
    "each image with the confidence of the protocol. A certificate that some image lacks does not count.",
    "(weak): the attack had no gradient of the network, and shows little. "
    f"{NONE}: no certificate exists. {MISSING}: not run, or not on record.",
)


def robustness_table(rows: pd.DataFrame, declared: Declared, runs: Mapping[str, Run], eps: float, cards: Path | None,
                     linked: bool = False) -> Table:  # fmt: skip
    """A line for each run folder, whose name is that of the network; by certified PSNR at ``eps``.

    Args:
        runs: by folder, see :func:`.methods.read_runs`.
        cards: folder with model cards, see :func:`card`; None: no card is named. ``linked``: as Markdown links.
    Raises: ConfigError: rows of several protocols or with different images, or without ``eps``."""
    check_protocol(rows, runs)
    named = rows.assign(method=[Path(folder).name for folder in rows["folder"]], sigma_tr=np.nan, protocol="")
    check_networks(named, eps)
    averages = Averages(named, declared)
    blocks = []
    for place, lines in grouped(averages.table, PLACE):
        radii = sorted(e for e in lines["eps"].unique() if e > 0)
        found = []
        for name, own in lines.groupby("method", sort=True):
            run = runs[own["folders"].iloc[0]]
            found.append(network_line(averages, str(name), own, run, radii, eps, cards, linked))
        found.sort(key=lambda line: line[0], reverse=True)
        header = ["network", "parameters", "trained by", "clean", *("attacked", "certified") * len(radii),
                  "certified by", "images", "card"]  # fmt: skip
        spans = [("", 3), ("ε = 0", 1), *((f"ε = {e:g}", 2) for e in radii), ("", 3)]
        blocks.append(Block(heading(dict(zip(PLACE, place, strict=True))), header, [line for _, line in found], spans))
    settings = (next(iter(runs.values())).config or {}).items()
    shown = {k: " and ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in settings if k in SHOWN}
    protocol = ", ".join(f"{key} = {value}" for key, value in shown.items() if value is not None)
    order = f"Ordered by the certified PSNR at ε = {eps:g}. Protocol: {protocol}."
    return Table(NAME, "Robustness of networks", (*NOTES, order), blocks)


def heading(place: Mapping[str, Any]) -> str:
    noise, ratio = f"σ_b = {place['sigma_b']:g}", f"m/n = {place['ratio']:g}"
    return f"{place['task']} on {place['dataset']}, {ratio}, {noise}"


def network_line(
    averages: Averages, name: str, own: pd.DataFrame, run: Run, radii: list[float], order: float, cards: Path | None,
    linked: bool,
) -> tuple[tuple[float, float], list[str | Entry]]:  # fmt: skip
    """What the line is sorted by, and its cells."""
    config = run.config or {}
    folder, rows = own["folders"].iloc[0], averages.rows
    blind = rows[rows["folder"] == folder].groupby("eps")["attack_zero_gradient"].any()
    trained = own["algo"].iloc[0] if config.get("ckpt") is not None else MISSING
    line: list[str | Entry] = [name, MISSING if run.parameters is None else f"{run.parameters:,}", trained]
    line.append(entry(averages, first(own), "psnr_clean"))
    rank, by = (-math.inf, -math.inf), dict[str, list[str]]()
    for eps in radii:
        at = own[own["eps"] == eps]
        attacked = entry(averages, first(at), "psnr_attacked")
        if config.get(GRADIENT) is not None or blind.get(eps, False):
            attacked = Entry(attacked.text + WEAK, attacked.source)
        cell, quantity, certifier = best(averages, at)
        line += [attacked, Entry(NONE) if cell is None else entry(averages, cell, quantity)]
        if cell is not None:
            by.setdefault(certifier, []).append(f"{eps:g}")
        if eps == order:
            rank = (-math.inf if cell is None else cell[quantity], first(at)["psnr_attacked"])
    shown, several = card(name, cards), len(by) > 1
    line.append("; ".join(c + (f" (ε = {', '.join(at)})" if several else "") for c, at in by.items()) or MISSING)
    return rank, [
        *line,
        str(first(own)["images"]),
        Markdown(f"[card]({shown})") if linked and shown != MISSING else shown,
    ]


def first(lines: pd.DataFrame) -> dict[str, Any]:
    return {str(k): v for k, v in lines.iloc[0].items()}


def best(averages: Averages, lines: pd.DataFrame) -> tuple[dict[str, Any] | None, str, str]:
    """The cell with the largest certified PSNR among those in which each image has a certificate, the column with it, and
    the certifier in words."""
    declared = averages.declared
    found: list[tuple[float, dict[str, Any], str, str]] = []
    for name, column in psnr_columns(declared, lines["certifier"]).items():
        if repeats(next(c for c in certifiers(declared, [name]))):
            continue
        for cell in lines[(lines["certifier"] == name) & lines["sound"].eq(True)].to_dict("records"):
            if cell[f"{column}_n"] == cell["images"]:
                by = name if pd.isna(cell["sigma"]) else f"{name}, σ = {cell['sigma']:g}"
                found.append((cell[column], {str(k): v for k, v in cell.items()}, column, by))
    if not found:
        return None, "", MISSING
    return max(found, key=lambda f: f[0])[1:]


def check_networks(named: pd.DataFrame, eps: float) -> None:
    """Raises: ConfigError: two networks of one name, other images in one block, or no rows of ``eps``."""
    for name, own in named.groupby("method"):
        if len(folders := sorted(own["folder"].unique())) > 1:
            raise ConfigError(f"table={NAME}: {' and '.join(folders)} are both called {name}; rename a run folder")
    if eps not in set(named["eps"]):
        known = ", ".join(f"{e:g}" for e in sorted(set(named["eps"]) - {0}))
        raise ConfigError(f"table={NAME}: no run has eps={eps:g}, by which the table is ordered; these have {known}")
    for place, lines in grouped(named, PLACE):
        images = {str(name): frozenset(own["image"]) for name, own in lines.groupby("method")}
        (one, of_one), *others = images.items()
        for other, of_other in others:
            if of_other != of_one:
                found = (
                    f"{one} has {len(of_one)} images and {other} {len(of_other)}, {len(of_one & of_other)} in common"
                )
                where = heading(dict(zip(PLACE, place, strict=True)))
                raise ConfigError(f"table={NAME}: means over other images say nothing: {where}: {found}; narrow runs=")


def check_protocol(rows: pd.DataFrame, runs: Mapping[str, Run]) -> None:
    """Raises: ConfigError: settings of the evaluation differ, or are not on record."""
    settings: dict[str, Settings] = {}
    for folder in sorted(rows["folder"].unique()):
        config = runs[folder].config
        if config is None:
            raise ConfigError(
                f"table={NAME}: {folder} has no config.yaml: its protocol is not known; leave it out of runs="
            )
        settings[folder] = chosen(config, PROTOCOL, NOT_PROTOCOL)
    if keys := differing(list(settings.values())):
        key = keys[0]
        values: dict[str, list[str]] = {}
        for folder, own in settings.items():
            values.setdefault(repr(own.get(key)), []).append(Path(folder).name)
        said = "; ".join(f"{value} in {', '.join(names)}" for value, names in values.items())
        more = f" (and {', '.join(keys[1:])})" if keys[1:] else ""
        raise ConfigError(
            f"table={NAME} is of one protocol, and these runs differ in {key}{more}: {said}; evaluate all with "
            f"experiment=robustness, or narrow runs="
        )
    if rows["units"].ne(Units.matched).any():
        raise ConfigError(f"table={NAME}: certificate.units=paper are no certificates for ‖ξ‖₂ ≤ ε")


def card(name: str, cards: Path | None) -> str:
    """Where the model card of a network is, as a path relative to ``cards``: the first file NAME.md, or else the first
    Markdown file with a heading `NAME` in code marks, with the anchor that GitHub makes of it. "–": there is none."""
    if cards is None:
        return MISSING
    pages = sorted(cards.rglob("*.md"))
    for page in pages:
        if page.name == f"{name}.md":
            return page.relative_to(cards).as_posix()
    for page in pages:
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("#") and line.lstrip("#").strip() == f"`{name}`":
                anchor = "".join(c for c in name.lower() if c.isalnum() or c in "-_")
                return f"{page.relative_to(cards).as_posix()}#{anchor}"
    return MISSING
