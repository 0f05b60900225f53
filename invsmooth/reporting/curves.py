"""Averages to the points of curves over eps: certificates, truth under the attack, and the attack
itself. No drawing.

What may be compared lies in one measure, which certifiers declare (``curves``): ``mse``, how far
the reconstruction can move; ``psnr``, to the clean image, as the curves of the network without
smoothing: on clean and attacked measurements, and under random noise of the attack's norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from invsmooth.reporting.averages import PANEL, Averages

PANEL_SIGMA = [*PANEL, "sigma"]
POINT = [*PANEL_SIGMA, "eps", "eps_over_sigma", "measure", "kind", "curve", "value", "lower", "upper"]
TRUTH = {"mse": "truth", "psnr": "truth_psnr"}
UNSMOOTHED = {"clean": "psnr_clean", "noise": "psnr_noise", "attacked": "psnr_attacked"}


def curve_points(averages: Averages, lines: pd.DataFrame | None = None) -> pd.DataFrame:
    """POINTs, of kind certified, truth (with its limits) or unsmoothed: means over the images of
    MSE, or of PSNR in dB; nan unless every image has a value. ``lines``: of the averages; all."""
    found, table = [], averages.table if lines is None else lines
    for certifier in averages.certifiers():
        own = table[table["certifier"] == certifier.name]
        found += [points(own, m, "certified", certifier.name, column) for m, column in certifier.curves.items()]
        found += [points(own, m, "truth", certifier.name, TRUTH[m]) for m in certifier.truth_in]
    # The lines of every certifier have these: each once.
    once = table.drop_duplicates([*PANEL_SIGMA, "eps"])
    found += [points(once, "psnr", "unsmoothed", name, column) for name, column in UNSMOOTHED.items()]
    every = pd.concat([p for p in found if len(p)], ignore_index=True)
    every["lower"] = every["lower"].mask((every["measure"] == "mse") & (every["lower"] <= 0))  # below a distance
    return every.sort_values([*PANEL_SIGMA, "measure", "kind", "curve", "eps"], ignore_index=True)


def points(lines: pd.DataFrame, measure: str, kind: str, curve: str, column: str) -> pd.DataFrame:
    def whole(name: str) -> Any:
        return lines[name].where(lines[f"{name}_n"] == lines["images"]).replace([np.inf, -np.inf], np.nan)

    ends = {end: whole(f"{column}_{end}") if kind == "truth" else np.nan for end in ("lower", "upper")}
    return lines.assign(measure=measure, kind=kind, curve=curve, value=whole(column), **ends)[POINT]
