"""The pictures of an evaluation, with captions, limited in number."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.loggers.charts import on_base
from invsmooth.records.pictures import KINDS, setting_name
from invsmooth.records.rows import Declared
from invsmooth.reporting.columns import certifier
from invsmooth.reporting.figures.visual import caption, title
from invsmooth.reporting.saved_pictures import picture_of, read, with_pictures

log = logging.getLogger(__name__)

GALLERIES = 8  # the most images, in one measurement setting each
CELLS = 6  # the most cells (eps, sigma) of an image, spread over the grid


@dataclass(frozen=True)
class Picture:
    """``kind``: of KINDS, but ``rank_k`` or ``shown`` for ``certified``, which may bound nothing.
    ``pixels``: 8-bit levels, (H, W) or (H, W, 3)."""

    kind: str
    pixels: np.ndarray
    caption: str


def galleries(rows: pd.DataFrame, declared: Declared) -> dict[str, list[Picture]]:
    """The pictures of each image and measurement setting, by name, each different one once."""
    groups: list[Any] = list(with_pictures(rows).groupby(["image", "ratio", "sigma_b"], sort=False))
    if len(groups) > GALLERIES:
        log.warning("the logger takes the pictures of %d of %d images and settings", GALLERIES, len(groups))
    return {setting_name(*key): list(pictures(group, declared)) for key, group in groups[:GALLERIES]}


def pictures(cells: pd.DataFrame, declared: Declared) -> Iterator[Picture]:
    cells = cells.sort_values(["eps", "sigma"], kind="stable")
    if len(cells) > CELLS:
        cells = cells.iloc[np.unique(np.linspace(0, len(cells) - 1, CELLS).round().astype(int))]
    seen = set()
    for _, row in cells.iterrows():
        kept, own = read(picture_of(row)), certifier(declared, row["certifier"])
        for kind in KINDS:
            if kind in kept and (identity := (kind, kept[kind].tobytes())) not in seen:
                seen.add(identity)
                name = kind if kind != "certified" else "rank_k" if own.ranked else "shown"
                yield Picture(name, kept[kind], words(row, kind, own))


def words(row: pd.Series, kind: str, certifier: CertifierDeclaration) -> str:
    """What is shown, in which cell, and its PSNR and SSIM."""
    said = [title(kind, certifier).replace("\n", " ")]
    if kind in ("attacked", "median", "certified"):
        said.append(f"ε = {row['eps']:g}")
        if kind != "attacked" or not on_base(row["attack_target"]):
            said += [] if pd.isna(row["sigma"]) else [f"σ = {row['sigma']:g}"]
    paper = f"; {PAPER_LABEL}" if kind == "certified" and row["units"] == Units.paper else ""
    return f"{', '.join(said)}: {caption(row, kind, certifier)}{paper}"
