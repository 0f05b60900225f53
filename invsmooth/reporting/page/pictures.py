"""The pictures kept beside the rows, as PNG files in base64 for the page to embed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from invsmooth.records.pictures import KINDS
from invsmooth.reporting.saved_pictures import interval_width, picture_of, read, with_pictures

MAX_BYTES = 32 * 2**20  # of embedded pictures, unless told otherwise
NO_INTERVAL = 2**8 - 1  # the palette's entry for a pixel without an interval: transparent


def page_pictures(rows: pd.DataFrame, max_bytes: int) -> dict[str, Any]:
    """Each different picture once; for each cell with pictures its row (of the certifier that they
    belong to; ``rows``: from 0) and the numbers of its pictures; how many are left out."""
    pngs: dict[str, int] = {}
    cells: list[dict[str, Any]] = []
    used = left_out = 0
    for number, pictures in kept(rows):
        found = {kind: encoded(Image.fromarray(pictures[kind])) for kind in KINDS if kind in pictures}
        cell: dict[str, Any] = {"row": number}
        if "lower" in pictures:
            cell["intervals"], found["intervals"] = intervals(pictures)
        cost = sum(len(text) for text in set(found.values()) - set(pngs))
        # Once one is left out all later ones are: which ones is then easy to say.
        if left_out or used + cost > max_bytes:
            left_out += 1
            continue
        used += cost
        cell["kinds"] = {kind: pngs.setdefault(text, len(pngs)) for kind, text in found.items()}
        cells.append(cell)
    return {"pngs": list(pngs), "cells": cells, "left_out": left_out, "max_bytes": max_bytes}


def kept(rows: pd.DataFrame) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Row number and pictures of each cell: of each run's first image, then of the second, …"""
    cells = with_pictures(rows)
    images = cells.groupby(["folder", "ratio", "sigma_b"], dropna=False)["image"]
    rank = images.transform(lambda own: pd.factorize(own)[0])
    for number, row in cells.loc[rank.sort_values(kind="stable").index].iterrows():
        yield int(str(number)), read(picture_of(row))


def intervals(pictures: dict[str, np.ndarray]) -> tuple[dict[str, Any], str]:
    """Statistics of the widths (pixels in [0, 1]), and these in colours from 0 to the largest."""
    width = interval_width(pictures)
    known = width[np.isfinite(width)]
    largest = float(known.max()) if known.size else 0.0
    median = round(float(np.median(known)), 6) if known.size else None
    said = {"label": str(pictures["label"]), "max": round(largest, 6), "median": median,
            "missing": int(width.size - known.size)}  # fmt: skip
    levels = np.where(np.isfinite(width), width, 0) / (largest or 1) * (NO_INTERVAL - 1)
    indexed = np.where(np.isfinite(width), np.rint(levels), NO_INTERVAL).astype(np.uint8)
    image = Image.frombytes("P", (width.shape[1], width.shape[0]), indexed.tobytes())
    image.putpalette((colormaps["cividis"](np.linspace(0, 1, NO_INTERVAL), bytes=True)[:, :3]).tobytes() + bytes(3))
    return said, encoded(image, transparency=NO_INTERVAL)


def encoded(image: Image.Image, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", **options)
    return base64.b64encode(file.getvalue()).decode()
