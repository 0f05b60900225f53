"""Curves of the methods: Figure 1 over sigma, and attacked and certified PSNR over eps."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import SETTING, Averages, soundness, title
from invsmooth.reporting.columns import PAPER, certifiers, columns, psnr_columns
from invsmooth.reporting.methods import in_order, not_run
from invsmooth.reporting.styles import errorbar, legend_below, listed, method_styles, with_unsmoothed
from invsmooth.reporting.tables.grid import MISSING, NONE

BLOCK = [*SETTING, "n_samples"]
PER_LINE = 4
MAX_PANELS, FIRST = 24, 8  # of more than MAX_PANELS only the FIRST are drawn, as in the figures of single settings
PER_PAGE = {"figure1": 8, "psnr": 4}
PANEL = (2.35, 1.75)  # inches of one plot: four side by side fill the width of a page
Panel = tuple[dict[str, Any], pd.DataFrame]
Styles = dict[str, dict[str, Any]]


def figure1_panels(averages: Averages) -> list[Panel]:
    """Of each setting and eps the averages of the paper's certificate."""
    of = [(s, c[c["certifier"] == PAPER]) for s, c in averages.blocks([*BLOCK, "eps"])]
    attacked = (averages.table["eps"] > 0).any()
    return [(s, c) for s, c in of if len(c) and (s["eps"] > 0 or not attacked)]


def curve_panels(averages: Averages) -> list[Panel]:
    """Of each setting and sigma the averages over eps, where there are several."""
    return [(s, c) for s, c in averages.blocks([*BLOCK, "sigma"]) if c["eps"].nunique() > 1]


def pages(panels: Sequence[Panel], per_page: int) -> Iterator[Sequence[Panel]]:
    """Hundreds of panels would be no figure, and take half of the time of a report."""
    shown = panels if len(panels) <= MAX_PANELS else panels[:FIRST]
    yield from (shown[k : k + per_page] for k in range(0, len(shown), per_page))


def figure1(panels: Sequence[Panel], anywhere: set[str], declared: Declared) -> Figure:
    """For each panel above the certified discrepancy over sigma, below the PSNR of the draw of rank
    K; at sigma = 0 attacked. Hollow: the smoothed median, where no certificate exists."""
    figure, grid, styles = canvas(panels, 2, declared)
    for (setting, cells), (top, bottom) in zip(panels, grid, strict=False):
        none: list[float] = []
        for method, own in cells[cells["sigma"] > 0].groupby("method"):
            style, own = styles[str(method)], own.sort_values("sigma")
            errorbar(top, own, "sigma", "bound", style)
            without = own[own["bound_n"] == 0]
            errorbar(bottom, with_unsmoothed(own, "psnr_certified", "psnr_attacked"), "sigma", "psnr_certified", style)
            errorbar(bottom, without, "sigma", "psnr_median", style | {"linestyle": "", "fillstyle": "none"})
            none += [sigma for sigma in without["sigma"] if sigma not in none]
        absent = not_run(cells["algo"], anywhere, declared)
        head(top, setting, cells, absent, "discrepancy", f"no certificate at σ = {listed(none)}" if none else "")
        say_if_empty(top, NONE)
        top.set_yscale("log")
        share_x((top, bottom), cells["sigma"])
        bottom.set_xlabel("σ, grey levels", fontsize=8)
    return finished(figure, grid, styles, ("certified discrepancy, MSE", "PSNR of the draw\nof rank K, dB"))


def curve_figure(panels: Sequence[Panel], anywhere: set[str], declared: Declared) -> Figure:
    """Over eps, a panel for each setting and sigma: PSNR attacked (also smoothed), certified."""
    every = pd.concat([cells for _, cells in panels])
    headings, certified = columns(declared), psnr_columns(declared, every["certifier"])
    at_attacked = [c for c in certifiers(declared, every["certifier"]) if c.at == "attacked"]
    attacked = [(c, f" ({c.name})" if len(at_attacked) > 1 else "") for c in at_attacked]
    lines = [
        ("attacked, unsmoothed PSNR, dB", None, "psnr_attacked"),
        *((f"attacked, {c.shown}, PSNR, dB{of}", c.name, "psnr_median") for c, of in attacked),
        *((f"{headings[column].heading}, dB ({name})", name, column) for name, column in certified.items()),
    ]
    drawn = [(label, c, column) for label, c, column in lines if of_certifier(every, c)[column].notna().any()]
    used = {"\n".join(textwrap.wrap(label, 24)): (certifier, column) for label, certifier, column in drawn}
    figure, grid, styles = canvas(panels, len(used), declared)
    for (setting, cells), places in zip(panels, grid, strict=False):
        head(places[0], setting, cells, not_run(cells["algo"], anywhere, declared), "PSNR")
        for place, (certifier, column) in zip(places, used.values(), strict=True):
            own = of_certifier(cells, certifier)
            for method, mine in own.groupby("method"):
                errorbar(place, mine.sort_values("eps"), "eps", column, styles[str(method)])
            if certifier in certified and len(own):
                none = sorted(own.loc[own["bound_n"] == 0, "eps"].unique())
                place.set_title(f"no certificate at ε = {listed(none)}" if none else "", fontsize=7)
            say_if_empty(place, MISSING if own.empty else NONE)
        share_x(places, cells["eps"])
        places[-1].set_xlabel("ε, l2 norm over one image", fontsize=8)
    share_y([place for places in grid for place in places if place.containers])
    return finished(figure, grid, styles, tuple(used))


def of_certifier(cells: pd.DataFrame, certifier: str | None) -> pd.DataFrame:
    """For None of the first one, since values without smoothing are the same for all."""
    return cells.drop_duplicates(["method", "eps"]) if certifier is None else cells[cells["certifier"] == certifier]


def canvas(panels: Sequence[Panel], n_plots: int, declared: Declared) -> tuple[Figure, list[list[Axes]], Styles]:
    """A figure, the plots of each panel one below the other, and the styles of the methods."""
    per_line = min(PER_LINE, len(panels))
    n_lines = -(-len(panels) // per_line)
    size = max(PANEL[0] * per_line + 0.5, 4.2), PANEL[1] * n_plots * n_lines + 0.9 * n_lines
    figure = Figure(figsize=size, layout="constrained")
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
    return figure, grid, method_styles([(algos[m], m) for m in in_order(lines, declared)], declared)


def head(place: Axes, setting: dict[str, Any], cells: pd.DataFrame, absent: list[str], of: str, note: str = "") -> None:
    """Title of a panel: its setting, whether its certificates hold, what is missing."""
    parts = [title(setting), soundness(cells, of), note, f"not run: {', '.join(absent)}" if absent else ""]
    # A symbol stays on the line of its value.
    lines = [line for part in parts for line in textwrap.wrap(part.replace(" = ", "\xa0=\xa0"), 38)]
    place.set_title("\n".join(lines), fontsize=7)


def share_x(places: Sequence[Axes], values: pd.Series) -> None:
    """All plots of a panel from 0 to the largest value."""
    for place in places:
        place.set_xlim(-0.04 * values.max(), 1.04 * values.max() or 1)


def share_y(places: Sequence[Axes]) -> None:
    """One range for plots of the same quantity, so that they can be compared."""
    limits = [place.get_ylim() for place in places]
    for place in places:
        place.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def say_if_empty(place: Axes, word: str) -> None:
    if not place.containers:
        place.set_yticks([])
        place.text(0.5, 0.5, word, transform=place.transAxes, ha="center", va="center")


def finished(figure: Figure, grid: Sequence[Sequence[Axes]], styles: Styles, labels: Sequence[str]) -> Figure:
    """With labels at the left, and a legend."""
    for places in grid[::PER_LINE]:
        for place, label in zip(places, labels, strict=True):
            place.set_ylabel(label, fontsize=8)
    legend_below(figure, styles)
    return figure
