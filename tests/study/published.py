"""The tables of the paper's own network, from its rows (docs/study/published.sh)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tests.study.rows import by_image
from tests.study.tables import interval, markdown

PAPER = {1: (24.64, 24.72), 5: (18.52, 19.28), 7: (15.56, 16.79)}
PAPER_CLEAN = 27.79
"""Table 1(b), ``ord``: PSNR attacked and smoothed for each ε, and without attack."""
SMOOTHED = "smoothed, attacked as such"
LARGE = ("fingerprint.tif", "flinstones.tif")  # of Set11: 512×512


def published_table(rows: pd.DataFrame) -> str:
    """The paper's network on whole images, beside the paper's row, averaged in three ways."""
    own, own_attack = (rows[rows["network"] == name] for name in ("published", "published_smoothed"))
    lines = [[*averages("–", "–", "clean", PAPER_CLEAN, own[own["eps"] == own["eps"].min()], "psnr_clean"), ""]]
    for (eps, sigma), cell in own.groupby(["eps", "sigma"]):
        for k, (what, column) in enumerate((("attacked", "psnr_attacked"), ("smoothed", "psnr_median"))):
            gain = (
                ""
                if k == 0
                else interval(by_image(cell, column).iloc[:, 0] - by_image(cell, "psnr_attacked").iloc[:, 0])
            )
            lines.append([*averages(f"{eps:g}", f"{sigma:g}", what, PAPER[eps][k], cell, column), gain])
        attacked = own_attack[own_attack["eps"] == eps]
        if len(attacked):
            gain = interval(by_image(attacked, "psnr_median").iloc[:, 0] - by_image(cell, "psnr_attacked").iloc[:, 0])
            lines.append([*averages(f"{eps:g}", f"{sigma:g}", SMOOTHED, None, attacked, "psnr_median"), gain])
    header = ["ε", "σ", "", "the paper", "ours", "the nine of 256×256", "of the mean error", "smoothed − attacked"]
    return markdown(header, lines)


def averages(eps: str, sigma: str, what: str, paper: float | None, cell: pd.DataFrame, column: str) -> list[str]:
    """Mean PSNR of all images, of those of 256×256, and the PSNR of the mean error."""
    small = cell.loc[~cell["image"].isin(LARGE), column].mean()
    pooled = -10 * np.log10((10 ** (-cell[column] / 10)).mean())
    return [eps, sigma, what, *("–" if v is None else f"{v:.2f}" for v in (paper, cell[column].mean(), small, pooled))]


def moved_table(rows: pd.DataFrame, clamped: pd.DataFrame) -> str:
    """What moves the numbers: another Φ, x + δ clamped to [0, 1]."""
    own = rows[rows["network"] == "published"]
    clean = own.loc[own["eps"] == own["eps"].min(), "psnr_clean"].mean()
    lines = []
    for seed, cell in rows[rows["network"].str.startswith("published_phi")].groupby("network"):
        lines.append(
            [f"another Φ ({seed[-1]})", "–", "clean", len(cell), f"{clean:.2f}", f"{cell['psnr_clean'].mean():.2f}"]
        )
    for eps, cell in clamped.groupby("eps"):
        lines.append(["x + ξ + δ clamped", f"{eps:g}", "smoothed", len(cell), f"{cell['psnr_median'].mean():.2f}",
                      f"{cell['psnr_median_clamped'].mean():.2f}"])  # fmt: skip
    return markdown(["change", "ε", "PSNR", "images", "without", "with"], lines)
