"""Rows made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.records.pictures import KINDS, picture_file
from invsmooth.records.rows import read_rows, write_rows
from invsmooth.reporting.averages import Averages
from tests.reporting.declared import DECLARED


def row(**values: Any) -> dict[str, Any]:
    base: dict[str, Any] = dict.fromkeys(DECLARED.schema.names)
    base |= {
        "run_id": "a", "algo": "ord", "task": "cs", "dataset": "set", "operator": "block_gaussian", "image": "one",
        "eps": 0.1, "sigma": 25.0, "sigma_b": 0.0, "ratio": 0.1, "certifier": "discrepancy", "units": "matched",
        "sound": True, "reason": "", "k_index": 40, "n_samples": 50, "psnr_measured": 9.0, "psnr_clean": 30.0,
        "psnr_attacked": 28.0, "psnr_median": 27.0, "psnr_certified": 26.0, "ssim_clean": 0.9, "ssim_attacked": 0.8,
        "ssim_median": 0.7, "ssim_certified": 0.6, "discrepancy_median": 1e-3, "discrepancy_certified": 2e-3,
        "eps_over_sigma": 1.02, "bound": 2e-3, "confidence": 0.99, "confidence_each": 0.99, "simultaneous": "",
    }  # fmt: skip
    return base | values


NONE = {
    "bound": math.nan, "k_index": None, "psnr_certified": math.nan, "discrepancy_certified": math.nan,
    "reason": "no certificate: …",
}  # fmt: skip


def stored(folder: Path, *rows: dict[str, Any]) -> pd.DataFrame:
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "results.parquet", rows, DECLARED)
    return read([folder])


def read(folders: Sequence[Path]) -> pd.DataFrame:
    """The rows of run folders, whose declarations are DECLARED."""
    rows, declared = read_rows(folders)
    assert declared == DECLARED
    return rows


def averages_of(rows: pd.DataFrame) -> Averages:
    return Averages(rows, DECLARED)


def keep_pictures(folder: Path, eps: float, sigma: float, **intervals: np.ndarray) -> None:
    """Pictures of the image of :func:`row`."""
    path = picture_file(folder, "one", 0.1, 0.0, eps, sigma)
    path.parent.mkdir(exist_ok=True)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.savez_compressed(path, allow_pickle=False, **dict.fromkeys(KINDS, grey), **intervals)
