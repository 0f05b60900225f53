"""Figures 2 to 4: the same attacked image by each method, without smoothing and with."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invsmooth.core.units import GREY_LEVELS, PAPER_LABEL, Units
from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import SETTING, grouped, known, title
from invsmooth.reporting.columns import certifiers
from invsmooth.reporting.methods import REFERENCE, in_order, not_run
from invsmooth.reporting.saved_pictures import picture_of, quality, read, with_pictures
from invsmooth.reporting.tables.grid import MISSING

PER_FIGURE = 3  # images in one figure, as in the paper
WHERE = [*SETTING, "n_samples", "image"]


@dataclass(frozen=True)
class Comparison:
    """One image under one attack (``setting``: WHERE, and ``eps``), with a row for each method.
    ``smoothed``: at the sigma best for all, where a method may lack one. ``sigma``: nan where no
    run kept pictures of the smoothed median of the attacked image."""

    setting: Mapping[str, Any]
    attacked: pd.DataFrame
    smoothed: pd.DataFrame
    sigma: float


def comparisons(rows: pd.DataFrame, declared: Declared) -> dict[str, list[Comparison]]:
    """The images of Figures 2 to 4: the first image of up to three settings, tasks in turn; more of
    denoising; more of the other tasks. Rows as :func:`.methods.with_methods` completes them."""
    kept = with_pictures(rows[rows["eps"] > 0])
    found: list[tuple[int, int, Comparison]] = []
    settings: dict[tuple[Any, ...], int] = {}
    of_task: dict[str, int] = {}
    at_attacked = [c.name for c in certifiers(declared, kept["certifier"]) if c.at == "attacked"]
    for key, group in grouped(kept, WHERE):
        place = tuple(map(known, key[:-1]))
        number = settings[place] = settings.get(place, -1) + 1
        turn = of_task[key[0]] = of_task.get(key[0], -1) + (number == 0)
        found.append((number, turn, comparison(dict(zip(WHERE, key, strict=True)), group, at_attacked)))
    ordered = [c for _, _, c in sorted(found, key=lambda item: item[:2])]
    rest = ordered[PER_FIGURE:]
    denoising, others = ([c for c in rest if (c.setting["task"] == "denoise") == is_it] for is_it in (True, False))
    figures = {"figure2": ordered, "figure3": denoising, "figure4": others}
    return {name: chosen[:PER_FIGURE] for name, chosen in figures.items() if chosen}


def comparison(setting: dict[str, Any], group: pd.DataFrame, at_attacked: Sequence[str]) -> Comparison:
    """At the largest eps that most methods have; of several seeds the first."""
    counts = group.groupby("eps")["method"].nunique()
    eps = float(counts[counts == counts.max()].index.max())
    at_eps = group[group["eps"] == eps]
    # The smoothed pictures of other certifiers are of the clean measurement.
    of_attacked = at_eps[at_eps["certifier"].isin(at_attacked)]
    table = of_attacked.pivot_table(index="method", columns="sigma", values="psnr_median")
    most = table.loc[:, table.count() == table.count().max()]
    best: Any = most.mean().idxmax() if most.size else np.nan
    sigma = float(best)
    smoothed = of_attacked[of_attacked["sigma"] == sigma].drop_duplicates("method")
    return Comparison({**setting, "eps": eps}, at_eps.drop_duplicates("method"), smoothed, sigma)


def comparison_figure(shown: Sequence[Comparison], anywhere: set[str], declared: Declared) -> Figure:
    """Two lines for each image: attacked, without smoothing (sigma = 0); smoothed median."""
    lines = pd.concat([c.attacked for c in shown])
    columns = in_order(lines, declared) + not_run(lines["algo"], anywhere, declared)
    figure = Figure(figsize=(0.4 + 1.35 * (1 + len(columns)), 3.9 * len(shown)), layout="constrained")
    parts = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, one in zip(parts, shown, strict=True):
        above, below = part.subplots(2, 1 + len(columns), squeeze=False)
        for place in (*above, *below):
            place.set(xticks=[], yticks=[], box_aspect=1)
        paper = f"; certificates {PAPER_LABEL}" if one.setting["units"] == Units.paper else ""
        heading = f"{one.setting['image']}: {title(one.setting)}{paper}".replace(" = ", "\xa0=\xa0")
        part.suptitle(textwrap.fill(heading, int(14 * figure.get_figwidth())), fontsize=9)
        # The clean image, and the reconstruction of the clean measurement after ordinary training.
        draw(below[0], one.attacked, "clean", "")
        below[0].set_title("clean x", fontsize=8)
        draw(above[0], one.attacked[one.attacked["algo"] == REFERENCE], "reconstructed", "clean")
        above[0].set_title(f"Vanilla\n({REFERENCE}, ε = 0)", fontsize=8)
        smoothed = f"median, σ = {one.sigma:g}" if one.sigma == one.sigma else ""
        for column, method in enumerate(columns, 1):
            draw(above[column], one.attacked[one.attacked["method"] == method], "attacked", "attacked")
            draw(below[column], one.smoothed[one.smoothed["method"] == method], "median", "median")
            algo, bracket, rest = method.partition(" (")
            above[column].set_title("\n".join([algo, *textwrap.wrap(bracket.strip() + rest, 22), "σ = 0"]), fontsize=8)
            below[column].set_title(smoothed, fontsize=8)
    return figure


def draw(place: Axes, rows: pd.DataFrame, kind: str, column: str) -> None:
    """A picture of the first of some rows, with PSNR and SSIM of ``column`` below."""
    pictures = read(picture_of(rows.iloc[0])) if len(rows) else {}
    if kind not in pictures:
        place.text(0.5, 0.5, MISSING, ha="center", va="center", transform=place.transAxes)
        place.set_xlabel("not run", fontsize=8)
        return
    row = rows.iloc[0]
    place.imshow(pictures[kind], cmap="gray", vmin=0, vmax=GREY_LEVELS)
    said = quality(row[f"psnr_{column}"], row[f"ssim_{column}"], " / ") if column else "PSNR / SSIM"
    place.set_xlabel(said, fontsize=8)
