"""Curves of the methods: Figure 1 (certified discrepancy and PSNR over sigma), and attacked and certified PSNR over eps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from invsmooth.records.rows import AT_ATTACKED
from invsmooth.reporting.cells import SETTING, Cells, soundness, title
from invsmooth.reporting.grid import MISSING, NONE
from invsmooth.reporting.methods import in_order, not_run
from invsmooth.reporting.styles import legend_below, method_styles

BLOCK = [*SETTING, "n_samples"]
PER_LINE, MAX_PANELS = 4, 24
PER_PAGE = {"figure1": 8, "psnr": 4}
PANEL = (2.35, 1.75)
"""Inches of one plot: four side by side fill the width of a page."""

Panel = tuple[dict[str, Any], pd.DataFrame]


def figure1_panels(cells: Cells) -> list[Panel]:
    """Of each setting and eps the cells of the discrepancy's certificate."""
    of = [(s, c[c["certifier"] == AT_ATTACKED]) for s, c in cells.blocks([*BLOCK, "eps"])]
    attacked = (cells.table["eps"] > 0).any()
    return [(s, c) for s, c in of if len(c) and (s["eps"] > 0 or not attacked)]


def curve_panels(cells: Cells) -> list[Panel]:
    """Of each setting and sigma the cells over eps, where there are several."""
    of = [(s, c[c["sigma"] == s["sigma"]]) for s, c in cells.blocks([*BLOCK, "sigma"])]
    return [(s, c) for s, c in of if c["eps"].nunique() > 1]


def pages(panels: Sequence[Panel], per_page: int) -> Iterator[Sequence[Panel]]:
    """At most MAX_PANELS: a figure with hundreds of panels is no figure."""
    for start in range(0, min(len(panels), MAX_PANELS), per_page):
        yield panels[start : start + per_page]


def figure1(panels: Sequence[Panel], anywhere: set[str]) -> Figure:
    """For each panel above the certified discrepancy over sigma, below the PSNR of the draw of rank K; at
    sigma = 0 the attacked reconstruction. Hollow, unjoined: the smoothed median, where no certificate exists."""
    figure, grid, styles = canvas(panels, 2)
    for (setting, cells), (top, bottom) in zip(panels, grid, strict=False):
        none: list[float] = []
        for method, own in cells[cells["sigma"] > 0].groupby("method"):
            style, own = styles[str(method)], own.sort_values("sigma")
            errorbar(top, own, "sigma", "bound", style)
            without = own[own["bound_n"] == 0]
            names = {f"psnr_certified{end}": own[f"psnr_attacked{end}"].iloc[:1] for end in ("", "_std", "_n")}
            unsmoothed = own.iloc[:1].assign(sigma=0.0, **names)
            errorbar(bottom, pd.concat([unsmoothed, own]), "sigma", "psnr_certified", style)
            hollow = style | {"linestyle": "", "fillstyle": "none"}
            errorbar(bottom, without, "sigma", "psnr_median", hollow)
            none += [sigma for sigma in without["sigma"] if sigma not in none]
        head(top, setting, cells, anywhere, "discrepancy", f"no certificate at σ = {listed(none)}" if none else "")
        say_if_empty(top, NONE)
        top.set_yscale("log")
        share_x((top, bottom), cells["sigma"])
        bottom.set_xlabel("σ, grey levels", fontsize=8)
    label_left(grid, ("certified discrepancy, MSE", "PSNR of the draw\nof rank K, dB"))
    finish(figure, panels, styles)
    return figure


CURVES = {
    "attacked, unsmoothed\nPSNR, dB": (None, "psnr_attacked"),
    "attacked, smoothed\nmedian, PSNR, dB": (AT_ATTACKED, "psnr_median"),
    "certified PSNR, dB\n(error: a fraction q)": ("error", "certified_psnr"),
    "certified PSNR, dB\n(mean)": ("mean", "certified_psnr_mean"),
}
"""The lines of the figure of curves over eps: certifier and column."""


def curve_figure(panels: Sequence[Panel], anywhere: set[str]) -> Figure:
    """Over eps, each panel a setting and sigma: PSNR under the attack found, without smoothing and with, and what is
    certified for every attack."""
    used = {
        label: (certifier, column)
        for label, (certifier, column) in CURVES.items()
        if any(of_certifier(cells, certifier)[column].notna().any() for _, cells in panels)
    }
    figure, grid, styles = canvas(panels, len(used))
    for (setting, cells), places in zip(panels, grid, strict=False):
        head(places[0], setting, cells, anywhere, "PSNR")
        for place, (certifier, column) in zip(places, used.values(), strict=True):
            own = of_certifier(cells, certifier)
            for method, mine in own.groupby("method"):
                errorbar(place, mine.sort_values("eps"), "eps", column, styles[str(method)])
            if column.startswith("certified") and len(own):
                none = sorted(own.loc[own["bound_n"] == 0, "eps"].unique())
                place.set_title(f"no certificate at ε = {listed(none)}" if none else "", fontsize=7)
            say_if_empty(place, MISSING if own.empty else NONE)
        share_x(places, cells["eps"])
        places[-1].set_xlabel("ε, l2 norm over one image", fontsize=8)
    label_left(grid, tuple(used))
    finish(figure, panels, styles)
    return figure


def of_certifier(cells: pd.DataFrame, certifier: str | None) -> pd.DataFrame:
    """Without one: the first, since what is not smoothed is the same for all."""
    if certifier is None:
        return cells.drop_duplicates(["method", "eps"])
    return cells[cells["certifier"] == certifier]


def canvas(panels: Sequence[Panel], n_plots: int) -> tuple[Figure, list[list[Axes]], dict[str, dict[str, Any]]]:
    """A figure, for each panel its plots one below the other, and the methods' styles."""
    per_line = min(PER_LINE, len(panels))
    n_lines = -(-len(panels) // per_line)
    width = max(PANEL[0] * per_line + 0.5, 4.2)
    figure = Figure(figsize=(width, PANEL[1] * n_plots * n_lines + 0.9 * n_lines), layout="constrained")
    axes = figure.subplots(n_plots * n_lines, per_line, squeeze=False)
    grid = []
    for number in range(per_line * n_lines):
        line, column = divmod(number, per_line)
        places = list(axes[n_plots * line : n_plots * (line + 1), column])
        for place in places:
            place.set_visible(number < len(panels))
            place.tick_params(which="both", labelsize=7)
            place.grid(color="0.9", linewidth=0.5)
            place.xaxis.set_major_locator(MaxNLocator(5))
        grid.append(places)
    lines = pd.concat([cells for _, cells in panels])
    algos = dict(zip(lines["method"], lines["algo"], strict=True))
    return figure, grid, method_styles([(algos[m], m) for m in in_order(lines)])


def head(
    place: Axes, setting: Mapping[str, Any], cells: pd.DataFrame, anywhere: set[str], of: str, note: str = ""
) -> None:
    """What a panel is about, whether its certificates hold, and what is missing in it."""
    absent = not_run(cells["algo"], anywhere)
    parts = [title(setting), soundness(cells, of), note, f"not run: {', '.join(absent)}" if absent else ""]
    # A symbol stays on the line of its value.
    lines = [line for part in parts for line in textwrap.wrap(part.replace(" = ", "\xa0=\xa0"), 38)]
    place.set_title("\n".join(lines), fontsize=7)


def listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


def share_x(places: Sequence[Axes], values: pd.Series) -> None:
    """All plots of a panel from 0 to the largest value."""
    for place in places:
        place.set_xlim(-0.04 * values.max(), 1.04 * values.max() or 1)


def errorbar(place: Axes, cells: pd.DataFrame, x: str, quantity: str, style: Mapping[str, Any]) -> None:
    """Means that every image has a part in, with bars of half a standard deviation over the images. The line breaks where
    there is none."""
    whole = cells[f"{quantity}_n"] == cells["images"]
    if whole.any():
        half = cells[f"{quantity}_std"].where(whole).fillna(0) / 2
        place.errorbar(cells[x], cells[quantity].where(whole), yerr=half, capsize=1.5, elinewidth=0.6, **style)


def say_if_empty(place: Axes, word: str) -> None:
    if not place.containers:
        place.set_yticks([])
        place.text(0.5, 0.5, word, transform=place.transAxes, ha="center", va="center")


def label_left(grid: Sequence[Sequence[Axes]], labels: Sequence[str]) -> None:
    for number, places in enumerate(grid):
        if number % PER_LINE == 0:
            for place, label in zip(places, labels, strict=True):
                place.set_ylabel(label, fontsize=8)


def finish(figure: Figure, panels: Sequence[Panel], styles: Mapping[str, dict[str, Any]]) -> None:
    shown = in_order(pd.concat([cells for _, cells in panels]))
    legend_below(figure, styles, shown)
