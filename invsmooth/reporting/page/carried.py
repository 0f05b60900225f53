"""Which rows the page carries: all, or of very many those of some images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from invsmooth.core.files import replaced

MOST_ROWS = 200_000
"""Sorted and filtered by a browser in less than a second (``make load``)."""
WHOLE = "rows.parquet"
OF_REPORT = ("folder", "label", "method")  # columns that only reports have


def carried(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most ``most`` of the rows, in their order: whole images, so that all methods are still compared on the same ones,
    the first of each data set before any second one. If one image alone has more: runs of it, or the first rows."""
    if len(rows) <= most:
        return rows
    number = rows.groupby(["task", "dataset", "image"], dropna=False, sort=False).ngroup()
    once = rows.loc[~number.duplicated(), ["task", "dataset"]]
    place = once.groupby(["task", "dataset"], dropna=False, sort=False).cumcount().to_numpy()  # by number
    order = place.argsort(kind="stable")
    kept = order[np.bincount(number)[order].cumsum() <= most]
    if len(kept):
        return rows[number.isin(kept)]
    first = rows[number == order[0]]
    runs = first["run_id"].value_counts(sort=False)
    part = first[first["run_id"].isin(runs.index[runs.cumsum() <= most])]
    return part if len(part) else first.iloc[:most]


def write_whole(rows: pd.DataFrame, out: Path) -> Path:
    """All rows, for a page that carries a part of them: ``out``/rows.parquet, all or nothing."""
    with replaced(out / WHOLE) as temporary:
        rows.drop(columns=[c for c in OF_REPORT if c in rows]).to_parquet(temporary, index=False)
    return out / WHOLE
