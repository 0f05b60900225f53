"""The table of all averages, as Markdown and, shorter, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.reporting.averages import PANEL, Averages, grouped, known
from invsmooth.reporting.columns import clause, columns
from invsmooth.reporting.notes import unit_note
from invsmooth.reporting.tables.grid import MISSING, NONE, Block, Table

PSNR = [f"psnr_{of}" for of in ("measured", "clean", "attacked", "noise", "median", "certified")]
FLOOR = ["psnr_floor", "floor_confidence"]
MOST_SHORT = 100  # lines on the terminal
LEGEND = (
    "Means over the images; of certified values, over the images that have a certificate (column certified). ε: l2 norm "
    "over one whole image, pixels in [0, 1]. σ, σ_b: 8-bit grey levels; σ –: without smoothing, so for every σ. PSNR in dB; "
    "noise: under random noise of norm ε.",
    "bound: the MSE that is certified for every attack. {}. truth: what the bound bounds, under the attack found. PSNR "
    "smoothed: of the picture that the certifier shows. PSNR draw of rank K: of the one draw whose error is the bound; it "
    "is a picture's PSNR and bounds nothing. *none*: no certificate exists; the rows (results.parquet) say why. "
    f"{MISSING}: another certifier's.",
)


def overview(averages: Averages, notes: Sequence[str] = ()) -> Table:
    """One line for each setting, eps, sigma and certifier; ``notes`` below the legend."""
    table, known = averages.table, columns(averages.declared)
    own = [c for d in averages.certifiers() for c in d.columns if c.heading and c.kind in ("real", "whole")]
    estimates, certified = ([c.name for c in own if c.certified == flag] for flag in (False, True))
    names = ["task", "label", "ratio", "sigma_b", "eps", "sigma", "certifier"]
    if len(table[attack := ["attack", "attack_target"]].drop_duplicates()) > 1:  # else all lines have the same
        names[2:2] = attack
    names += dict.fromkeys(
        [*PSNR, *FLOOR, *estimates, "truth", "bound", *certified, "eps_over_sigma", "certified", "images"]
    )
    names = [n for n in names if n == "bound" or not table[n].isna().all()]
    legend = "; ".join(f"{c.name}: {clause(c)}" for c in averages.certifiers())
    said = [LEGEND[0], LEGEND[1].format(legend), *notes]
    if (table["units"] == Units.paper).any():
        said.append(f"**Certified values are {PAPER_LABEL}** (certificate.units=paper).")
    # The columns that a certificate fills: without one they show "none".
    filled = {
        d.name: {"bound", d.column, *["psnr_certified"] * d.ranked, *(c.name for c in d.columns if c.certified)}
        for d in averages.certifiers()
    }
    digits = {n: known[n].digits if n in known else ".4g" for n in names}
    records = table.to_dict("records")
    lines = [[text(line[n], digits[n], n in filled[line["certifier"]]) for n in names] for line in records]
    header = ["algorithm" if n == "label" else known[n].heading if n in known else n for n in names]
    return Table("table", "Results", said, [Block("", header, lines)])


def text(value: Any, digits: str, certified: bool) -> str:
    if pd.isna(value):
        return NONE if certified else MISSING
    return f"{value:{digits}}" if isinstance(value, float) else str(value)


def short(averages: Averages) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table for the terminal: a line for each setting, eps and certifier, a
    column for each sigma, the last one without smoothing. Values that all certifiers share stand in
    the first of their lines."""
    table = averages.table
    sigmas = [*sorted(table["sigma"].dropna().unique()), *[None] * bool(table["sigma"].isna().any())]
    shared = {"task": "task", "label": "algo", "ratio": "m/n", "sigma_b": "σ_b", "eps": "ε", "psnr_measured": "Aᵀy",
              "psnr_clean": "clean", "psnr_attacked": "attacked"}  # fmt: skip
    place = {name: ".2f" if name.startswith("psnr") else "g" for name in shared}
    lines = []
    for _, cell in grouped(table, [*PANEL, "eps"]):
        start = [text(cell.iloc[0][name], digits, False) for name, digits in place.items()]
        for declared in averages.certifiers(cell):
            own = cell[cell["certifier"] == declared.name]
            found = {known(line["sigma"]): smoothed_cell(line, declared) for _, line in own.iterrows()}
            lines.append([*start, declared.name, *(found.get(s, "") for s in sigmas)])
            start = [""] * len(start)
    return [*shared.values(), "certifier", *(f"σ = {MISSING if s is None else f'{s:g}'}" for s in sigmas)], lines


def smoothed_cell(line: pd.Series, certifier: CertifierDeclaration) -> str:
    """The PSNR of the picture shown, and the certified PSNR; the main value of a certifier of
    something else."""
    bound = NONE if pd.isna(line["bound"]) else f"≤ {line['bound']:.1e}"
    certificate = certifier.short.format(line[certifier.column]) if pd.notna(line[certifier.column]) else bound
    psnr = certifier.curves.get("psnr", certifier.column)
    if psnr != certifier.column and pd.notna(line[psnr]):
        certificate = f"≥ {line[psnr]:.2f} dB"
    # Without a picture it abstained for all images.
    return certificate if pd.isna(line["psnr_median"]) else f"{line['psnr_median']:.2f} ({certificate})"


def print_short(averages: Averages) -> None:
    """The short table, on the terminal."""
    from rich.console import Console
    from rich.table import Table as Terminal

    header, lines = short(averages)
    title = "PSNR in dB, means over the images. Per σ (grey levels; –: without smoothing): PSNR smoothed (certificate)"
    said = [unit_note(averages.rows)]
    if len(lines) > MOST_SHORT:  # nobody reads more there, and to lay them out takes seconds
        said.append(f"The first {MOST_SHORT} of {len(lines)} lines; table.md has all.")
    table = Terminal(title=title, caption=" ".join(filter(None, said)) or None)
    for name in header:
        table.add_column(name, justify="left" if name in ("task", "algo", "certifier") else "right", no_wrap=True)
    for line in lines[:MOST_SHORT]:
        table.add_row(*line)
    console = Console()
    # A pipe or a log has no width of its own: 80 columns would cut the numbers.
    (console if console.is_terminal else Console(width=400)).print(table)
