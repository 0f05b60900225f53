"""The figure "attack, truth, certificate" over eps: all certifiers of a run in one panel for each setting and sigma."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.reporting.curves import PANEL, UNSMOOTHED, curve_points
from invsmooth.reporting.figures import COLOURS, MARKERS, head, panel_title

STYLES: dict[str, dict[str, Any]] = {
    **{certifier: {"color": COLOURS[certifier], "marker": MARKERS[certifier]} for certifier in COLOURS},
    "clean": {"color": "black", "marker": "", "linestyle": (0, (1, 3))},
    "noise": {"color": "dimgrey", "marker": "+", "linestyle": "-."},
    "attacked": {"color": "black", "marker": "x", "linestyle": "-."},
}
KINDS: dict[str, dict[str, Any]] = {
    "certified": {"linestyle": "-", "linewidth": 1.6},
    "truth": {"linestyle": "--", "linewidth": 1.1, "markerfacecolor": "white"},
    "unsmoothed": {"linewidth": 1.1},
}
LABELS = {
    ("mse", "discrepancy"): "discrepancy: smoothed draws,\nto what was reconstructed",
    ("mse", "mean"): "mean: shift of the smoothed mean",
    ("mse", "center"): "center: shift of the centre",
    ("psnr", "error"): "error: smoothed draws",
    ("psnr", "mean"): "mean: the smoothed mean",
    ("psnr", "clean"): "network without smoothing",
    ("psnr", "noise"): "the same, random noise of norm ε",
    ("psnr", "attacked"): "the same, under the attack",
}
HOW = {
    "certified": "certificate",
    "truth": "truth under the attack found\n(shaded: to its confidence limits,\nwhere the draws gave any)",
}
Y_LABELS = {"mse": "how far it can move, MSE", "psnr": "PSNR to the clean image, dB"}


def has_curves(rows: pd.DataFrame) -> bool:
    """Whether there are several radii."""
    return rows.loc[rows["eps"] > 0, "eps"].nunique() > 1


def truth_figure(rows: pd.DataFrame) -> Figure:
    """For each setting and sigma above how far the reconstruction can move, below PSNR to the clean image. Solid: certified
    for every attack. Dashed: the truth under the attack found, shaded between its confidence limits."""
    points = curve_points(rows)
    panels = list(points.groupby(PANEL, dropna=False))
    of_radius = rows[rows["certifier"] == "radius"].groupby(PANEL, dropna=False)
    radii = {key: certified_radius(own) for key, own in of_radius}
    n_sigma = rows["sigma"].nunique()
    per_line = min(3, n_sigma if n_sigma > 1 else len(panels))
    n_lines = -(-len(panels) // per_line)
    figure = Figure(figsize=(3.6 + 3.7 * per_line, 0.8 + 6.4 * n_lines), layout="constrained")
    axes = figure.subplots(2 * n_lines, per_line, squeeze=False)
    for number in range(n_lines * per_line):
        line, column = divmod(number, per_line)
        pair = axes[2 * line : 2 * line + 2, column]
        if number < len(panels):
            key, own = panels[number]
            draw_panel(pair, dict(zip(PANEL, key, strict=True)), own)
            pair[0].set_title(pair[0].get_title() + radii.get(key, ""), fontsize=9)
        for place, label in zip(pair, Y_LABELS.values(), strict=True):
            place.set_visible(number < len(panels))
            place.set_ylabel(label if column == 0 else "")
    legends(axes[:2, -1], points)
    head(figure, rows)
    return figure


def draw_panel(pair: Iterable[Axes], panel: dict[str, Any], points: pd.DataFrame) -> None:
    top, bottom = pair
    draw(top, points[points["measure"] == "mse"])
    draw(bottom, points[points["measure"] == "psnr"])
    top.set_xlim(bottom.get_xlim())
    if top.lines:
        top.set_yscale("log")
    else:
        top.text(0.5, 0.5, "no certifier of these runs is about this", transform=top.transAxes, ha="center", fontsize=8)
    paper = f"\n{PAPER_LABEL}" if panel["units"] == Units.paper else ""
    top.set_title(f"{panel_title(panel)}, σ = {panel['sigma']:g}{paper}", fontsize=9)
    ratio_axis(top, points)
    bottom.set_xlabel("ε (l2 norm over one image)")


def draw(axes: Axes, points: pd.DataFrame) -> None:
    """The curves of one measure."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    for (kind, curve), line in points.groupby(["kind", "curve"]):
        style = STYLES[str(curve)] | KINDS[str(kind)]
        shown = line["value"].where((line["value"] > 0) | (line["measure"] == "psnr"))  # 0 has no logarithm
        axes.plot(line["eps"], shown, markersize=5, **style)
        upper = line["upper"].fillna(line["value"])  # mean has no limit above
        axes.fill_between(line["eps"], line["lower"], upper, color=style["color"], alpha=0.15, linewidth=0)
    if nulls := without_certificate(points):
        x, align = (0.98, "right") if set(points["measure"]) == {"mse"} else (0.02, "left")
        axes.text(x, 0.02, nulls, transform=axes.transAxes, ha=align, va="bottom", fontsize=7)


def without_certificate(points: pd.DataFrame) -> str:
    """Where a curve has no point, in words."""
    nulls = points[(points["kind"] == "certified") & points["value"].isna()].groupby("curve")["eps"].unique()
    lines = [f"{curve}: ε = {', '.join(f'{e:g}' for e in sorted(radii))}" for curve, radii in nulls.items()]
    return "\n".join(["not certified for every image:", *lines]) if lines else ""


def certified_radius(rows: pd.DataFrame) -> str:
    """What the rows of ``radius`` say, which is one number for each image and no curve."""
    images = rows.drop_duplicates(["run_id", "image"])
    thresholds, found = rows["bound"].dropna().unique(), images["certified_eps"].dropna()
    at_most = f"MSE ≤ {', '.join(f'{t:g}' for t in thresholds)}" if len(thresholds) else "the threshold holds"
    if found.empty:
        return "\nradius: none for any image"
    of = "mean of" if len(found) == len(images) else f"none for {len(images) - len(found)}, mean of the other"
    return f"\nradius: {at_most} up to ε = {found.mean():.3g} ({of} {len(found)})"


def ratio_axis(axes: Axes, points: pd.DataFrame) -> None:
    """A second axis with eps/sigma, as the certificates take it."""
    line = points[points["eps"] > 0].iloc[:1]
    scale = float((line["eps_over_sigma"] / line["eps"]).max())
    if np.isfinite(scale):
        functions = (lambda e: np.multiply(e, scale), lambda r: np.divide(r, scale))
        axes.secondary_xaxis("top", functions=functions).set_xlabel("ε/σ", fontsize=8)


def legends(places: Iterable[Axes], points: pd.DataFrame) -> None:
    """What there is to see in each measure, to the right of the first line of panels."""
    drawn = points[points["value"].notna()]
    how = {kind: label for kind, label in HOW.items() if kind in set(drawn["kind"])}
    for axes, measure in zip(places, Y_LABELS, strict=True):
        there = set(drawn.loc[drawn["measure"] == measure, "curve"])
        handles = [
            Line2D([], [], label=label, **STYLES[curve] | KINDS["unsmoothed" if curve in UNSMOOTHED else "certified"])
            for (of, curve), label in LABELS.items()
            if of == measure and curve in there
        ]
        if measure == "mse":
            handles += [Line2D([], [], label=how[kind], color="dimgrey", marker="o", **KINDS[kind]) for kind in how]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8, frameon=False)
