"""Rows with pictures beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from invsmooth.records.pictures import picture_file

CELL = ["folder", "image", "ratio", "sigma_b", "eps", "sigma"]  # the columns that name a file of pictures


def with_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each file of pictures: that of the certifier whose pictures they are."""
    there = {f: {path.name for path in (Path(f) / "pictures").glob("*.npz")} for f in rows["folder"].unique()}
    cells = rows.drop_duplicates(CELL)
    cells = cells[cells["folder"].map({folder: bool(names) for folder, names in there.items()}).astype(bool)]
    has = [picture_file(Path(), *key).name in there[folder] for folder, *key in cells[CELL].itertuples(index=False)]
    return cells[np.array(has, dtype=bool)]  # a list without elements would choose columns


def picture_of(row: pd.Series) -> Path:
    return picture_file(Path(row["folder"]), *row[CELL[1:]])


def interval_width(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Width of each pixel's interval, (H, W); of several channels the largest. nan: a channel has none."""
    width = pictures["upper"].astype(float) - pictures["lower"]
    return width if width.ndim == 2 else width.max(axis=-1)


def quality(psnr: float, ssim: float, between: str = ", ") -> str:
    """In words. Images that are smaller than its window have no SSIM."""
    return f"{psnr:.2f} dB" + ("" if math.isnan(ssim) else f"{between}{ssim:.3f}")


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as pictures:
        return dict(pictures)
