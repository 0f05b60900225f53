"""The pictures that an evaluation kept, with captions, limited in number."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.pictures import KINDS, setting_name
from invsmooth.reporting.saved_pictures import CELL, picture_of, read
from invsmooth.reporting.visual_figure import ONE_IMAGE, caption, title

log = logging.getLogger(__name__)

GALLERIES = 8
"""Images, in one measurement setting each, that are shown."""
CELLS = 6
"""Cells (eps, sigma) of an image that are shown, spread over the grid."""


@dataclass(frozen=True)
class Picture:
    """``kind``: one of KINDS, but for :func:`tag`. ``pixels``: 8-bit grey levels (H, W)."""

    kind: str
    pixels: np.ndarray
    caption: str


def galleries(rows: pd.DataFrame) -> dict[str, list[Picture]]:
    """The pictures of each image and measurement setting, by name. What several cells share is
    there once."""
    cells = rows.drop_duplicates(CELL)  # the pictures are those of a run's first certifier, whose row comes first
    cells = cells[[picture_of(row).is_file() for _, row in cells.iterrows()]]
    groups = list(cells.groupby(["image", "ratio", "sigma_b"], sort=False))
    if len(groups) > GALLERIES:
        log.warning("the logger takes the pictures of %d of %d images and settings", GALLERIES, len(groups))
    return {name_of(group.iloc[0]): list(pictures(group)) for _, group in groups[:GALLERIES]}


def name_of(row: pd.Series) -> str:
    return setting_name(row["image"], row["ratio"], row["sigma_b"])


def pictures(cells: pd.DataFrame) -> Iterator[Picture]:
    """Of one image and setting."""
    cells = cells.sort_values(["eps", "sigma"], kind="stable")
    if len(cells) > CELLS:
        cells = cells.iloc[np.unique(np.linspace(0, len(cells) - 1, CELLS).round().astype(int))]
    seen = set()
    for _, row in cells.iterrows():
        kept = read(picture_of(row))
        for kind in KINDS:
            if kind in kept and (identity := (kind, kept[kind].tobytes())) not in seen:
                seen.add(identity)
                yield Picture(tag(row, kind), kept[kind], words(row, kind))


def tag(row: pd.Series, kind: str) -> str:
    """The kind in keys of loggers. The draw of rank K bounds nothing, and is not called
    certified."""
    if kind != "certified":
        return kind
    return "shown" if row["certifier"] in ONE_IMAGE else "rank_k"


def words(row: pd.Series, kind: str) -> str:
    """What is shown, in which cell, and its PSNR and SSIM."""
    what = title(kind, row["certifier"]).replace("\n", " ")
    cell = [f"ε = {row['eps']:g}"] if kind in ("attacked", "median", "certified") else []
    if kind in ("median", "certified") or (cell and not on_base(row)):
        cell.append(f"σ = {row['sigma']:g}")
    paper = f"; {PAPER_LABEL}" if kind == "certified" and row["units"] == Units.paper else ""
    return f"{', '.join([what, *cell])}: {caption(row, kind)}{paper}"


def on_base(row: pd.Series) -> bool:
    """Whether the attack is on the unsmoothed network, and so the same at every sigma."""
    return bool(pd.isna(row["attack_target"]) or row["attack_target"] == "base")
