"""Rows with pictures beside them."""

from __future__ import annotations

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


def read(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as pictures:
        return dict(pictures)
