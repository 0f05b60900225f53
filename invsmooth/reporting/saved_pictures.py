"""Which rows have pictures beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from invsmooth.records.pictures import picture_file, setting_name

CELL = ["folder", "image", "ratio", "sigma_b", "eps", "sigma"]
"""What the pictures of a cell are kept by."""


def with_pictures(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell that has pictures: that of the first certifier of its run, whose pictures they are."""
    images = rows[["folder", "image", "ratio", "sigma_b"]].drop_duplicates()
    kept = {folder: kept_names(Path(folder)) for folder in images["folder"].unique()}
    # Runs keep pictures of a few images only: those first, so that few files are asked for.
    names = [setting_name(i, r, b) for i, r, b in images[["image", "ratio", "sigma_b"]].itertuples(index=False)]
    there = [name in kept[folder][0] for folder, name in zip(images["folder"], names, strict=True)]
    cells = rows.merge(images[np.array(there, dtype=bool)], on=["folder", "image", "ratio", "sigma_b"]).drop_duplicates(
        CELL
    )
    has = [picture_of(row).name in kept[row["folder"]][1] for _, row in cells.iterrows()]
    return cells[np.array(has, dtype=bool)]  # a list without elements would choose columns


def kept_names(folder: Path) -> tuple[set[str], set[str]]:
    """Of a run: the settings of the images that have pictures, and the files' names."""
    names = {path.name for path in (folder / "pictures").glob("*.npz")}
    return {name.rpartition("_eps")[0] for name in names}, names


def picture_of(row: pd.Series) -> Path:
    return picture_file(Path(row["folder"]), row["image"], row["ratio"], row["sigma_b"], row["eps"], row["sigma"])


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as pictures:
        return dict(pictures)
