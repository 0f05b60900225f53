"""The figure of PSNR over eps, on a logarithmic axis: what attacks leave, and what is certified."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from invsmooth.reporting.averages import PLACE, Averages, grouped, title
from invsmooth.reporting.methods import in_order
from invsmooth.reporting.psnr_curves import ATTACKED, CERTIFIED, CLEAN, KINDS, SMOOTHED, picked_note, words
from invsmooth.reporting.styles import PALETTE

COLOURS = [*(style["color"] for style in PALETTE), "#8C564B"]
MARKERS = [*(style["marker"] for style in PALETTE), "*"]
LOOKS: dict[str, dict[str, Any]] = {
    CERTIFIED: {"linestyle": "-", "linewidth": 2.0, "markersize": 5},
    ATTACKED: {"linestyle": (0, (4, 2)), "linewidth": 1.2, "markersize": 5, "markerfacecolor": "white"},
    SMOOTHED: {"linestyle": (0, (6, 1.5, 1, 1.5)), "linewidth": 1.5, "markersize": 3.5},
    CLEAN: {"linestyle": ":", "linewidth": 1.0, "markersize": 4},
}
RANGE = (0.05, 15.0)
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 50)
PER_LINE = 2


def psnr_figure(averages: Averages, points: pd.DataFrame) -> Figure:
    """A panel for each task, data set, operator, ratio and sigma_b. A colour for each method, a kind
    of line for each kind of PSNR. ``points``: :func:`.psnr_curves` of the averages."""
    panels = [(key, own) for key, own in grouped(points, PLACE)]
    methods = in_order(averages.table[averages.table["method"].isin(points["method"])], averages.declared)
    styles = {
        m: {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]} for k, m in enumerate(methods)
    }
    per_line = min(PER_LINE, len(panels))
    n_lines = -(-len(panels) // per_line)
    figure = Figure(figsize=(3.2 + 5.2 * per_line, 1.6 + 4 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, per_line, squeeze=False, sharey=True)  # so that panels can be compared
    for place in axes.flat[len(panels) :]:
        place.set_visible(False)
    limits = min(RANGE[0], points["eps"].min()), max(RANGE[1], points["eps"].max())
    for number, (place, (key, own)) in enumerate(zip(axes.flat, panels, strict=False)):
        draw(place, own, styles, limits)
        place.set_title(f"{title(dict(zip(PLACE, key, strict=True)))} ({own['images'].iloc[0]} images)", fontsize=10)
        place.set_ylabel("PSNR, dB" if number % per_line == 0 else "")
        place.set_xlabel("ε, ℓ2 norm of the attack over one image, pixels in [0, 1]")
    legends(figure, points, styles, picked_note(averages))
    return figure


def draw(axes: Axes, points: pd.DataFrame, styles: dict[str, dict[str, Any]], limits: tuple[float, float]) -> None:
    """The curves of a panel; clean PSNR is a horizontal line from the left edge."""
    axes.set_xscale("log")
    axes.set_xlim(limits[0] / 1.5, limits[1] * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter(FuncFormatter(plainly))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.92", linewidth=0.6)
    for (method, kind), line in points.groupby(["method", "kind"]):
        look: dict[str, Any] = styles[str(method)] | LOOKS[str(kind)] | {"label": f"{method}, {kind}"}
        if kind == CLEAN:
            axes.plot(axes.get_xlim(), [line["value"].iloc[0]] * 2, markevery=[0], clip_on=False, zorder=1.5, **look)
        else:
            axes.plot(line["eps"], line["value"], zorder=2.5 if kind == CERTIFIED else 2, **look)


def plainly(value: float, _: int | None = None) -> str:
    return f"{value:g}"


def legends(figure: Figure, points: pd.DataFrame, styles: dict[str, dict[str, Any]], note: str) -> None:
    """Kinds of PSNR by line, below; methods by colour, on the right."""
    width = int(14 * figure.get_figwidth())
    there = [kind for kind in KINDS if kind in set(points["kind"])]
    said = [textwrap.fill(words(kind, points, note), width) for kind in there]
    look: dict[str, Any] = {"color": "0.25", "marker": ""}
    kinds = [Line2D([], [], label=s, **look | plain(LOOKS[k])) for k, s in zip(there, said, strict=True)]
    names = [textwrap.fill(method.replace(" = ", "\xa0=\xa0"), 26) for method in styles]
    look = {"linestyle": "-", "linewidth": 2, "markersize": 5}
    own = [Line2D([], [], label=name, **look | style) for name, style in zip(names, styles.values(), strict=True)]
    figure.legend(handles=kinds, loc="outside lower left", fontsize=8, frameon=False, handlelength=4)
    figure.legend(handles=own, loc="outside right upper", fontsize=8, frameon=False)


def plain(look: dict[str, Any]) -> dict[str, Any]:
    return {name: look[name] for name in ("linestyle", "linewidth")}
