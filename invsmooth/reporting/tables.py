"""Result rows to tables: averages over the images of what was computed for each image."""

from __future__ import annotations

from typing import Any

import pandas as pd

from invsmooth.units import PAPER_LABEL, Units

ATTACK = ["attack", "attack_target"]
SETTING = ["task", "algo", "dataset", "operator", "ratio", "sigma_b", "certifier", "units", *ATTACK]
"""What one panel of a figure, or one block of a table, has in common."""

NAMES = {
    "attack_target": "attack on",
    "ratio": "m/n", "sigma_b": "σ_b", "eps": "ε", "sigma": "σ", "psnr_measured": "PSNR Aᵀy", "psnr_clean": "PSNR clean",
    "psnr_attacked": "PSNR attacked", "psnr_median": "PSNR smoothed median", "psnr_certified": "PSNR certified draw",
    "discrepancy_median": "discrepancy median", "discrepancy_certified": "discrepancy certified",
    "certified_psnr": "certified PSNR", "eps_over_sigma": "ε/σ in the certificate",
}  # fmt: skip


def averages(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each setting, eps and sigma: means over the images, their number and how many have a certificate."""
    groups = rows.groupby([*SETTING, "eps", "sigma"], sort=True, dropna=False)
    means = groups[[c for c in NAMES if c not in (*SETTING, "eps", "sigma")]].mean()
    counts = groups.agg(images=("image", "size"), certified=("bound", "count"))
    return means.join(counts).reset_index()


def markdown(rows: pd.DataFrame) -> str:
    """The whole table of averages as Markdown, with what its columns mean."""
    table = averages(rows)
    columns = ["task", "algo", "ratio", "sigma_b", "eps", "sigma", "psnr_measured", "psnr_clean", "psnr_attacked",
               "psnr_median", "psnr_certified", "discrepancy_median", "discrepancy_certified", "certified_psnr",
               "eps_over_sigma", "certified", "images"]  # fmt: skip
    if len(table[ATTACK].drop_duplicates()) > 1:  # else all lines have the same
        columns[2:2] = ATTACK
    # A column that no certifier of these runs fills says nothing.
    columns = [c for c in columns if not table[c].isna().all() or c == "discrepancy_certified"]
    lines = [
        "# Results",
        "",
        "Means over the images. ε: l2 norm over one whole image, pixels in [0, 1]. σ, σ_b: 8-bit grey levels. PSNR in dB. "
        "Discrepancy: MSE to the reconstruction from the attacked measurement. *none*: no certificate exists; the rows "
        "(results.parquet) say why.",
        "",
    ]
    if (table["units"] == Units.paper).any():
        lines += [f"**Certified values are {PAPER_LABEL}** (certificate.units=paper).", ""]
    lines.append("| " + " | ".join(NAMES.get(c, c) for c in columns) + " |")
    lines.append("|" + " --- |" * len(columns))
    lines += ["| " + " | ".join(cell(line, c) for c in columns) + " |" for _, line in table.iterrows()]
    return "\n".join(lines) + "\n"


def cell(line: pd.Series, column: str) -> str:
    """One number as text."""
    value: Any = line[column]
    if column in ("psnr_certified", "discrepancy_certified", "certified_psnr") and line["certified"] == 0:
        return "none"
    if column.startswith("discrepancy"):
        return f"{value:.2e}"
    if "psnr" in column:
        return f"{value:.2f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Header and lines of a table for the terminal: a line for each setting and eps, a column for each sigma."""
    table = averages(rows)
    sigmas = sorted(table["sigma"].unique())
    header = ["task", "algo", "m/n", "σ_b", "ε", "Aᵀy", "clean", "attacked", *(f"σ = {s:g}" for s in sigmas)]
    lines = []
    for key, group in table.groupby([*SETTING, "eps"], dropna=False):
        values: dict[str, Any] = dict(zip([*SETTING, "eps"], key, strict=True))
        first = group.iloc[0]
        line: list[str] = [values["task"], values["algo"], *(f"{values[c]:g}" for c in ("ratio", "sigma_b", "eps")),
                *(f"{first[c]:.2f}" for c in ("psnr_measured", "psnr_clean", "psnr_attacked"))]  # fmt: skip
        cells = {s: smoothed_cell(line_) for s, (_, line_) in zip(group["sigma"], group.iterrows(), strict=True)}
        lines.append([*line, *(cells.get(s, "") for s in sigmas)])
    return header, lines


def smoothed_cell(line: pd.Series) -> str:
    """Smoothed median PSNR and the certificate of one cell."""
    if line["certifier"] == "error":
        certificate = "none" if line["certified"] == 0 else f"≥ {line['certified_psnr']:.2f} dB"
    else:
        certificate = "none" if line["certified"] == 0 else f"≤ {line['discrepancy_certified']:.1e}"
    return f"{line['psnr_median']:.2f} ({certificate})"
