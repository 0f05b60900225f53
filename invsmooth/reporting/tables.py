"""Result rows to tables: averages over the images of what was computed for each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from invsmooth.core.units import PAPER_LABEL, Units

ATTACK = ["attack", "attack_target"]
SETTING = ["task", "algo", "dataset", "operator", "ratio", "sigma_b", "certifier", "units", *ATTACK]
"""What one panel of a figure, or one block of a table, has in common."""

NAMES = {
    "attack_target": "attack on",
    "ratio": "m/n", "sigma_b": "σ_b", "eps": "ε", "sigma": "σ", "psnr_measured": "PSNR Aᵀy", "psnr_clean": "PSNR clean",
    "psnr_attacked": "PSNR attacked", "psnr_noise": "PSNR noise", "psnr_median": "PSNR smoothed",
    "psnr_certified": "PSNR draw of rank K", "discrepancy_median": "discrepancy median", "truth": "truth",
    "bound": "bound", "certified_psnr": "certified PSNR", "certified_psnr_mean": "certified PSNR of the mean",
    "certified_eps": "certified ε", "eps_over_sigma": "ε/σ in the certificate",
}  # fmt: skip

CERTIFIED = {
    "bound": ("discrepancy", "error", "radius", "mean", "center"), "certified_psnr": ("error",),
    "certified_psnr_mean": ("mean",), "certified_eps": ("radius",),
}  # fmt: skip
"""What is certified: columns, and the certifiers that fill them."""
RANKED = {"psnr_certified": ("discrepancy", "error", "radius")}
"""Of the draw of rank K, which bounds nothing."""

LEGEND = (
    "Means over the images; of what is certified, over those that have a certificate (column certified). ε: l2 norm over "
    "one whole image, pixels in [0, 1]. σ, σ_b: 8-bit grey levels. PSNR in dB; noise: under random noise of norm ε.",
    "bound: MSE that is certified for every attack. discrepancy: of the smoothed draws to what was reconstructed; error: to "
    "the clean image; mean, center: by which the one image shown can move; radius: the threshold, up to the certified ε. "
    "truth: what the bound bounds, under the attack found (of center 3 times its ball there). PSNR smoothed: of the median "
    "draw, or of that one image. PSNR draw of rank K: of the one draw whose error is the bound; it is a picture's PSNR and "
    "bounds nothing. *none*: no certificate exists; the rows (results.parquet) say why. –: another certifier's.",
)


def averages(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each setting, eps, sigma and certifier: means over the images, their number and how many have a
    certificate."""
    keys = [*(c for c in SETTING if c != "certifier"), "eps", "sigma", "certifier"]
    groups = rows.groupby(keys, sort=True, dropna=False)
    means = groups[[c for c in NAMES if c not in keys]].mean()
    counts = groups.agg(images=("image", "size"), certified=("bound", "count"))
    return means.join(counts).reset_index()


def markdown(rows: pd.DataFrame, notes: Sequence[str] = ()) -> str:
    """The whole table of averages as Markdown, with what its columns mean, and ``notes``."""
    table = averages(rows)
    columns = ["task", "algo", "ratio", "sigma_b", "eps", "sigma", "certifier", *list(NAMES)[5:], "certified", "images"]
    if len(table[ATTACK].drop_duplicates()) > 1:  # else all lines have the same
        columns[2:2] = ATTACK
    # A column that no certifier of these runs fills says nothing.
    columns = [c for c in columns if not table[c].isna().all() or c == "bound"]
    lines = ["# Results", ""]
    for paragraph in (*LEGEND, *notes):
        lines += [paragraph, ""]
    if (table["units"] == Units.paper).any():
        lines += [f"**Certified values are {PAPER_LABEL}** (certificate.units=paper).", ""]
    lines.append("| " + " | ".join(NAMES.get(c, c) for c in columns) + " |")
    lines.append("|" + " --- |" * len(columns))
    lines += ["| " + " | ".join(cell(line, c) for c in columns) + " |" for _, line in table.iterrows()]
    return "\n".join(lines) + "\n"


def cell(line: pd.Series, column: str) -> str:
    """One number as text."""
    value: Any = line[column]
    if pd.isna(value):
        return "none" if line["certifier"] in (CERTIFIED | RANKED).get(column, ()) else "–"
    if column in ("bound", "truth", "discrepancy_median"):
        return f"{value:.2e}"
    if "psnr" in column:
        return f"{value:.2f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table for the terminal: a line for each setting, eps and certifier, a column for each sigma.
    What all certifiers share stands in the first of their lines."""
    table = averages(rows)
    sigmas = sorted(table["sigma"].unique())
    shared = {"task": "task", "algo": "algo", "ratio": "m/n", "sigma_b": "σ_b", "eps": "ε", "psnr_measured": "Aᵀy",
              "psnr_clean": "clean", "psnr_attacked": "attacked"}  # fmt: skip
    lines = []
    for _, cell_ in table.groupby([*(c for c in SETTING if c != "certifier"), "eps"], dropna=False):
        start = [in_short(cell_.iloc[0][column], 2 if column.startswith("psnr") else None) for column in shared]
        for certifier, group in cell_.groupby("certifier"):
            found = {line["sigma"]: smoothed_cell(line) for _, line in group.iterrows()}
            lines.append([*start, str(certifier), *(found.get(s, "") for s in sigmas)])
            start = [""] * len(start)
    return [*shared.values(), "certifier", *(f"σ = {s:g}" for s in sigmas)], lines


def in_short(value: Any, decimals: int | None) -> str:
    if isinstance(value, str):
        return value
    return f"{value:g}" if decimals is None else f"{value:.{decimals}f}"


def smoothed_cell(line: pd.Series) -> str:
    """Smoothed PSNR and the certificate of one cell."""
    if pd.isna(line["psnr_median"]):  # center abstained from all images
        return "none"
    if line["certified"] == 0:
        certificate = "none"
    elif line["certifier"] == "error":
        certificate = f"≥ {line['certified_psnr']:.2f} dB"
    elif line["certifier"] == "radius" and pd.notna(line["certified_eps"]):
        certificate = f"ε ≤ {line['certified_eps']:.2g}"
    else:
        certificate = f"≤ {line['bound']:.1e}"
    return f"{line['psnr_median']:.2f} ({certificate})"
