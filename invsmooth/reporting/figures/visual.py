"""The figure of the stages of one image, and of the certified interval of each of its pixels."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.core.units import GREY_LEVELS, PAPER_LABEL, Units
from invsmooth.records.pictures import KINDS
from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import PANEL, grouped, parts
from invsmooth.reporting.columns import certifier, taken_at
from invsmooth.reporting.methods import with_labels
from invsmooth.reporting.notes import choice_note
from invsmooth.reporting.saved_pictures import interval_width, picture_of, quality, read


def visual_figure(kept: pd.DataFrame, declared: Declared) -> Figure:
    """The :func:`telling_rows` of each setting, PSNR and SSIM below. ``kept``: :func:`with_pictures`."""
    kept = with_labels(kept)
    shown = [row for _, group in grouped(kept, [*PANEL, "certifier"]) for row in telling_rows(group)]
    drawn = [read(picture_of(row)) for row in shown]
    n_columns = len(KINDS) + any("lower" in pictures for pictures in drawn)
    figure = Figure(figsize=(1.9 * n_columns, 0.7 + 2.2 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), n_columns, squeeze=False)
    above = ""
    for places, row, pictures in zip(axes, shown, drawn, strict=True):
        own = certifier(declared, row["certifier"])
        for place, kind in zip(places, (*KINDS, "intervals"), strict=False):
            place.set_title(title(kind, own) if own.name != above else "", fontsize=8)
            place.set(xticks=[], yticks=[], box_aspect=1)
            if kind == "intervals":
                draw_intervals(figure, place, pictures)
                continue
            if kind in pictures:
                place.imshow(pictures[kind], cmap="gray", vmin=0, vmax=GREY_LEVELS)
            else:
                place.text(0.5, 0.5, "none", ha="center", transform=place.transAxes)
            place.set_xlabel(caption(row, kind, own), fontsize=8)
        above = own.name
        paper = f"\n{PAPER_LABEL}" if row["units"] == Units.paper else ""
        place, cell = (", ".join(parts(dict(row[names]))) for names in (["ratio", "sigma_b"], ["eps", "sigma"]))
        places[0].set_ylabel(f"{row['task']}, {place}\n{cell}{paper}", fontsize=8)
    figure.supxlabel(textwrap.fill(choice_note(kept, declared), int(15 * figure.get_figwidth())), fontsize=8)
    return figure


def telling_rows(rows: pd.DataFrame) -> list[pd.Series]:
    """Of one image the best smoothed row at the largest eps with a certificate; at the largest."""
    rows = rows[rows["image"] == rows["image"].iloc[0]]
    largest = [some[some["eps"] == some["eps"].max()] for some in (rows[rows["bound"].notna()], rows)]
    shown = [
        candidates.loc[candidates["psnr_median"].fillna(-np.inf).idxmax()] for candidates in largest if len(candidates)
    ]
    return shown[:1] if len(shown) == 2 and shown[0].equals(shown[1]) else shown


def title(kind: str, certifier: CertifierDeclaration) -> str:
    """The name of a picture."""
    at = taken_at(certifier)
    return {
        "clean": "clean x",
        "measured": "measured Aᵀy",
        "reconstructed": "reconstruction\nof y(x)",
        "attacked": "reconstruction\nof y(x+ξ)",
        "median": f"{certifier.shown}\nof {at}",
        "certified": f"draw of rank K\nof {at}" if certifier.ranked else "the same, and by how\nmuch it can move",
        "intervals": f"intervals of the\npixels of {at}: width",
    }[kind]


def draw_intervals(figure: Figure, place: Axes, pictures: Mapping[str, np.ndarray]) -> None:
    """The width of each pixel's interval, with its range, and the arrays' own label."""
    if "lower" not in pictures:
        place.set_axis_off()
        return
    width = interval_width(pictures)
    label = textwrap.fill(str(pictures["label"]), 34)
    if np.isnan(width).any():
        place.text(0.5, 0.5, "none", ha="center", transform=place.transAxes)
        place.set_xlabel(f"no interval\n{label}", fontsize=6)
        return
    image = place.imshow(width, cmap="cividis", vmin=0)
    figure.colorbar(image, ax=place, fraction=0.05).ax.tick_params(labelsize=7)
    place.set_xlabel(f"median {np.median(width):.3f}, pixels in [0, 1]\n{label}", fontsize=6)


def shortened(name: str) -> str:
    """At most 32 characters: a longer name would leave no room for the picture."""
    return name if len(name) <= 32 else f"{name[:16]}…{name[-15:]}"


def caption(row: pd.Series, kind: str, certifier: CertifierDeclaration) -> str:
    """PSNR and SSIM of a picture; for a certifier of one image, how far its last can move."""
    if kind == "clean":
        return shortened(str(row["image"]))
    if kind == "certified" and not certifier.ranked and pd.notna(row["bound"]):
        return f"moves ≤ {row['bound']:.1e} (MSE)"
    column = {"measured": "measured", "reconstructed": "clean"}.get(kind, kind)
    if pd.isna(row[f"psnr_{column}"]):
        return "no certificate"
    return quality(row[f"psnr_{column}"], row.get(f"ssim_{column}", math.nan))
