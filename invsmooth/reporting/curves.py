"""Result rows to the points of curves over eps: certificate, truth under the attack, and the attack itself. No drawing.

What may be compared lies in one measure:

- ``mse``, how far it can move. ``discrepancy``: MSE of the smoothed draws to what was reconstructed (the smoothing noise
  included, so not 0 at eps = 0). ``mean``: of the shift of the smoothed mean. ``center``: between centres.
- ``psnr``, to the clean image. ``error`` and ``mean`` as certified PSNR, and the network without smoothing: on clean and
  attacked measurements, and under random noise of the attack's norm.

``radius`` is the curve of ``error`` or ``discrepancy``, read at one value of the other axis: it adds none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from invsmooth.reporting.tables import SETTING

PANEL = [*(c for c in SETTING if c != "certifier"), "sigma"]
POINT = [*PANEL, "eps", "eps_over_sigma", "measure", "kind", "curve"]

CERTIFIED = {
    "mse": {"discrepancy": "bound", "mean": "bound", "center": "bound"},
    "psnr": {"error": "certified_psnr", "mean": "certified_psnr_mean"},
}
"""The column of each certifier's curve in each measure."""

TRUTHS = {"mse": ("discrepancy", "mean"), "psnr": ("error",)}
"""Whose ``truth`` (an MSE) is what the curve of the same name bounds. That of ``center`` is of its ball."""

UNSMOOTHED = {"clean": "psnr_clean", "noise": "psnr_noise", "attacked": "psnr_attacked"}


def curve_points(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each point: POINT, value, lower and upper (limits of the truth), each the mean over the images, of MSE
    or of PSNR in dB; nan unless every image has one. kind: certified, truth or unsmoothed."""
    found = pd.concat([p for p in (*certified(rows), *truths(rows), *unsmoothed(rows)) if len(p)])
    values = ["value", "lower", "upper"]
    # A limit that the draws did not give is infinite, or 0 below a distance.
    found["lower"] = found["lower"].mask((found["measure"] == "mse") & (found["lower"] <= 0))
    groups = found.replace([np.inf, -np.inf], np.nan).groupby(POINT, dropna=False)
    whole = groups[values].count().eq(groups.size(), axis=0)
    return groups[values].mean().where(whole).reset_index()


def certified(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [
        points(rows[rows["certifier"] == certifier], measure, "certified", certifier, column)
        for measure, columns in CERTIFIED.items()
        for certifier, column in columns.items()
    ]


def truths(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """In PSNR the larger MSE is the lower limit."""
    as_psnr = rows.assign(
        truth=in_db(rows["truth"]), truth_lower=in_db(rows["truth_upper"]), truth_upper=in_db(rows["truth_lower"])
    )
    return [
        points(of[of["certifier"] == certifier], measure, "truth", certifier, "truth", "truth_lower", "truth_upper")
        for measure, of in (("mse", rows), ("psnr", as_psnr))
        for certifier in TRUTHS[measure]
    ]


def unsmoothed(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Every certifier's row has these: each once."""
    once = rows.drop_duplicates([*PANEL, "run_id", "image", "eps"])
    return [points(once, "psnr", "unsmoothed", name, column) for name, column in UNSMOOTHED.items()]


def points(
    rows: pd.DataFrame, measure: str, kind: str, curve: str, value: str, lower: str | None = None,
    upper: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The rows as points of one image each."""
    found = rows.assign(measure=measure, kind=kind, curve=curve, value=rows[value], lower=np.nan, upper=np.nan)
    if lower and upper:
        found = found.assign(lower=rows[lower], upper=rows[upper])
    return found[[*POINT, "value", "lower", "upper"]]


def in_db(mse: pd.Series) -> pd.Series:
    """PSNR of a mean squared error; nan where it is not positive."""
    return -10 * np.log10(mse.where(mse > 0))
