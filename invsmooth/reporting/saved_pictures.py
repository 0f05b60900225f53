"""Rows with pictures beside them."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from invsmooth.records.pictures import KINDS, picture_file

CELL = ["folder", "image", "ratio", "sigma_b", "eps", "sigma"]  # the columns that name a file of pictures


def with_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each file of pictures: that of the certifier whose pictures they are."""
    there = {f: {path.name for path in (Path(f) / "pictures").glob("*.npz")} for f in rows["folder"].unique()}
    cells = rows.drop_duplicates(CELL)
    cells = cells[cells["folder"].map({folder: bool(names) for folder, names in there.items()}).astype(bool)]
    has = [not there[folder].isdisjoint(file_names(*key)) for folder, *key in cells[CELL].itertuples(index=False)]
    return cells[np.array(has, dtype=bool)]  # a list without elements would choose columns


def file_names(image: str, *cell: float) -> list[str]:
    """Of the file of pictures of a cell (CELL without the folder): as it is written, and as earlier versions wrote it."""
    ratio, sigma_b, eps, sigma = cell
    return [picture_file(Path(), image, ratio, sigma_b, eps, sigma, earlier).name for earlier in (False, True)]


def picture_of(row: pd.Series) -> Path:
    now, earlier = file_names(*row[CELL[1:]])
    folder = picture_file(Path(row["folder"]), *row[CELL[1:]]).parent
    # By the names that are there: some file systems would take another image's file for it.
    found = earlier if not (folder / now).exists() and folder.is_dir() and earlier in os.listdir(folder) else now
    return folder / found


def interval_width(pictures: Mapping[str, np.ndarray]) -> np.ndarray:
    """Width of each pixel's interval, (H, W); of several channels the largest. nan: a channel has none."""
    width = pictures["upper"].astype(float) - pictures["lower"]
    return width if width.ndim == 2 else width.max(axis=-1)


def quality(psnr: float, ssim: float, between: str = ", ") -> str:
    """In words. Images that are smaller than its window have no SSIM."""
    return f"{psnr:.2f} dB" + ("" if math.isnan(ssim) else f"{between}{ssim:.3f}")


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; none where it is damaged (:func:`why_damaged`)."""
    try:
        return checked(path)
    except DAMAGE:
        return {}


def why_damaged(path: Path) -> str:
    """What is wrong with a file of pictures; "" if nothing is."""
    try:
        checked(path)
    except DAMAGE as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""


DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def checked(path: Path) -> dict[str, np.ndarray]:
    """Raises: one of DAMAGE: it cannot be read, or is not what a run writes."""
    with np.load(path) as file:
        pictures = dict(file)
    images = [pictures[k] for k in KINDS if k in pictures]
    ends = [pictures[k] for k in ("lower", "upper") if k in pictures]
    shapes = {array.shape for array in (*images, *ends)}
    sizes = {shape[:2] for shape in shapes}
    if len(sizes) > 1 or not all(len(s) == 2 or (len(s) == 3 and s[2] == 3) for s in shapes):
        raise ValueError(f"arrays of shapes {sorted(shapes)}, which are no pictures of one image")
    if any(array.dtype != np.uint8 for array in images) or any(array.dtype.kind != "f" for array in ends):
        raise ValueError("arrays of other types than a run writes")
    if len(ends) == 1 or (ends and "label" not in pictures):
        raise ValueError("intervals without both ends and a label")
    return pictures
