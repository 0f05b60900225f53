"""The figure "attack, truth, certificate" over eps: a panel for each setting and sigma."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.reporting.averages import Averages, grouped, in_panels, known, panel_title
from invsmooth.reporting.columns import clause, columns
from invsmooth.reporting.curves import PANEL_SIGMA, curve_points
from invsmooth.reporting.notes import confidence_notes, unit_note
from invsmooth.reporting.styles import certifier_style, corner_text, head, listed

UNSMOOTHED: dict[str, dict[str, Any]] = {
    "clean": {"color": "black", "marker": "", "linestyle": (0, (1, 3)), "label": "network without smoothing"},
    "noise": {"color": "dimgrey", "marker": "+", "linestyle": "-.", "label": "the same, random noise of norm ε"},
    "attacked": {"color": "black", "marker": "x", "linestyle": "-.", "label": "the same, under the attack"},
}
KINDS: Mapping[str, dict[str, Any]] = {
    "certified": {"linestyle": "-", "linewidth": 1.6},
    "truth": {"linestyle": "--", "linewidth": 1.1, "markerfacecolor": "white"},
    "unsmoothed": {"linewidth": 1.1},
}
SHADED = "truth under the attack found\n(shaded: to its confidence limits,\nwhere the draws gave any)"
HOW = {"certified": "certificate", "truth": SHADED}
Styles = Mapping[str, dict[str, Any]]
Y_LABELS = {"mse": "how far it can move, MSE", "psnr": "PSNR to the clean image, dB"}


def has_curves(rows: pd.DataFrame) -> bool:
    return rows.loc[rows["eps"] > 0, "eps"].nunique() > 1


def truth_figure(averages: Averages) -> Figure:
    """For each setting and sigma above how far the reconstruction can move, below PSNR to the clean
    image. Solid: certified for every attack. Dashed: the truth under the attack found."""
    points = curve_points(averages, in_panels(averages.table, PANEL_SIGMA))
    styles = {c.name: certifier_style(c) for c in averages.certifiers()} | UNSMOOTHED
    panels = grouped(points, PANEL_SIGMA)
    single = {tuple(map(known, k)): single_values(own, averages) for k, own in grouped(averages.rows, PANEL_SIGMA)}
    n_sigma = averages.table["sigma"].nunique()
    per_line = min(3, n_sigma if n_sigma > 1 and len(panels) % n_sigma == 0 else len(panels))
    n_lines = -(-len(panels) // per_line)
    figure = Figure(figsize=(3.6 + 3.7 * per_line, 0.8 + 6.4 * n_lines), layout="constrained")
    axes = figure.subplots(2 * n_lines, per_line, squeeze=False)
    for number in range(n_lines * per_line):
        line, column = divmod(number, per_line)
        pair = list(axes[2 * line : 2 * line + 2, column])
        if number < len(panels):
            key, own = panels[number]
            draw_panel(
                pair, dict(zip(PANEL_SIGMA, key, strict=True)), own, styles, single.get(tuple(map(known, key)), "")
            )
        for place, label in zip(pair, Y_LABELS.values(), strict=True):
            place.set_visible(number < len(panels))
            place.set_ylabel(label if column == 0 else "")
    legends(axes[:2, -1], points, averages, styles)
    head(figure, confidence_notes(averages.rows, averages.declared), unit_note(averages.rows))
    return figure


def draw_panel(pair: list[Axes], panel: dict[str, Any], points: pd.DataFrame, styles: Styles, note: str) -> None:
    """One setting and sigma; ``note`` ends its title."""
    top, bottom = pair
    draw(top, points[points["measure"] == "mse"], styles)
    draw(bottom, points[points["measure"] == "psnr"], styles)
    top.set_xlim(bottom.get_xlim())
    if top.lines:
        top.set_yscale("log")
    else:
        top.text(0.5, 0.5, "no certifier of these runs is about this", transform=top.transAxes, ha="center", fontsize=8)
    paper = f"\n{PAPER_LABEL}" if panel["units"] == Units.paper else ""
    top.set_title(f"{panel_title(panel)}{paper}{note}", fontsize=9)
    # A second axis with eps/sigma, as the certificates take it.
    line = points[(points["eps"] > 0) & points["eps_over_sigma"].notna()].iloc[:1]
    scale = float((line["eps_over_sigma"] / line["eps"]).max())
    if np.isfinite(scale):
        functions = (
            partial(np.multiply, scale),
            partial(np.multiply, 1 / scale),
        )  # of names: figures go to other processes
        top.secondary_xaxis("top", functions=functions).set_xlabel("ε/σ", fontsize=8)
    bottom.set_xlabel("ε (l2 norm over one image)")


def draw(axes: Axes, points: pd.DataFrame, styles: Styles) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(5))
    for (kind, curve), line in points.groupby(["kind", "curve"]):
        style = styles[str(curve)] | KINDS[str(kind)]
        shown = line["value"].where((line["value"] > 0) | (line["measure"] == "psnr"))  # 0 has no logarithm
        axes.plot(line["eps"], shown, markersize=5, **style)
        upper = line["upper"].fillna(line["value"])  # some truths have no upper limit
        axes.fill_between(line["eps"], line["lower"], upper, color=style["color"], alpha=0.15, linewidth=0)
    if nulls := without_certificate(points):
        corner_text(axes, nulls, right=set(points["measure"]) == {"mse"})


def without_certificate(points: pd.DataFrame) -> str:
    """Where a curve has no point, in words."""
    nulls = points[(points["kind"] == "certified") & points["value"].isna()].groupby("curve")["eps"].unique()
    lines = [f"{curve}: ε = {listed(radii)}" for curve, radii in nulls.items()]
    return "\n".join(["not certified for every image:", *lines]) if lines else ""


def single_values(rows: pd.DataFrame, averages: Averages) -> str:
    """A line for each certifier whose main value is one for all eps, and so no curve."""
    lines = [""]
    for certifier in (c for c in averages.certifiers(rows) if not c.per_eps):
        own = rows[rows["certifier"] == certifier.name]
        images, bounds = own.drop_duplicates(["run_id", "image"]), own["bound"].dropna().unique()
        found = pd.to_numeric(images[certifier.column]).dropna()
        of = "mean of" if len(found) == len(images) else f"none for {len(images) - len(found)}, mean of the other"
        at = f" at MSE ≤ {listed(bounds)}" if 0 < len(bounds) < 4 and certifier.column != "bound" else ""
        said = f"{certifier.short.format(found.mean())}{at} ({of} {len(found)})" if len(found) else "none for any image"
        lines.append(f"{certifier.name}: {said}")
    return "\n".join(lines)


def legends(places: Iterable[Axes], points: pd.DataFrame, averages: Averages, styles: Styles) -> None:
    """The curves of each measure, to the right of the first line of panels."""
    drawn, headings = points[points["value"].notna()], columns(averages.declared)
    how = {kind: label for kind, label in HOW.items() if kind in set(drawn["kind"])}
    for axes, measure in zip(places, Y_LABELS, strict=True):
        there = set(drawn.loc[drawn["measure"] == measure, "curve"])
        handles = []
        for certifier in (c for c in averages.certifiers() if c.name in there):
            column = certifier.curves.get(measure, "bound")
            what = clause(certifier) if column == "bound" else headings[column].heading
            label = textwrap.fill(f"{certifier.name}: {what}", 40)
            handles.append(Line2D([], [], label=label, **styles[certifier.name] | KINDS["certified"]))
        handles += [Line2D([], [], **look | KINDS["unsmoothed"]) for name, look in UNSMOOTHED.items() if name in there]
        if measure == "mse":
            handles += [Line2D([], [], label=how[kind], color="dimgrey", marker="o", **KINDS[kind]) for kind in how]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8, frameon=False)
