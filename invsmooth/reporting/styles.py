"""How curves look, the parts that all figures share. Matplotlib without pyplot:
no global state. Okabe and Ito's colours for the colour-blind; markers and dashes for grey print."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.records.rows import Declared
from invsmooth.reporting.methods import algorithm

PALETTE: Sequence[dict[str, Any]] = [
    {"color": colour, "marker": marker, "linestyle": dashes}
    for colour, marker, dashes in (
        ("#000000", "o", "-"), ("#E69F00", "s", (0, (5, 1.5))), ("#0072B2", "^", (0, (5, 1.5, 1, 1.5))),
        ("#009E73", "D", (0, (2.5, 1))), ("#D55E00", "v", (0, (1, 1))), ("#CC79A7", "P", (0, (7, 2))),
        ("#56B4E9", "X", (0, (3, 1, 1, 1, 1, 1))), ("#882255", "p", (0, (9, 1.5))), ("#332288", "h", (0, (1.5, 2.5))),
        ("#7F7F7F", "*", (0, (5, 1, 1, 1))),
    )
]  # fmt: skip
"""Of the algorithms, in their order."""
FILLS = ("full", "left", "right", "top", "bottom")  # of an algorithm's methods in turn; ``none`` is for other points


def method_styles(methods: Sequence[tuple[str, str]], declared: Declared) -> dict[str, dict[str, Any]]:
    """The style of each of (algorithm, method)."""
    # An algorithm has the same style in every report, unless it shares its place with another one.
    places: dict[str, int] = {}
    for order, name in sorted((algorithm(declared, a).order, a) for a in {*declared.algorithms, *dict(methods)}):
        free = [k for k in range(len(PALETTE)) if k not in places.values()] or [order % len(PALETTE)]
        places[name] = order if order in free else free[-1]
    found: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for algo, method in methods:
        number = seen[algo] = seen.get(algo, -1) + 1
        look = {"markersize": 4, "linewidth": 1.2, "markeredgewidth": 0.9, "fillstyle": FILLS[number % len(FILLS)]}
        found[method] = PALETTE[places[algo]] | look
    return found


def certifier_style(certifier: CertifierDeclaration) -> dict[str, Any]:
    return {"color": certifier.colour, "marker": certifier.marker}


def eps_styles(values: Iterable[float]) -> dict[float, dict[str, Any]]:
    """Colour and marker of the curve of each eps."""
    radii = sorted(set(values))
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(radii)))
    looks = zip(colours, itertools.cycle("osD^vPX*<>"), strict=False)
    of = [{"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.3} for colour, marker in looks]
    return dict(zip(radii, of, strict=True))


def errorbar(place: Axes, lines: pd.DataFrame, x: str, quantity: str, style: Mapping[str, Any]) -> None:
    """Averages that every image has a part in, with bars of half a standard deviation over the
    images. The curve breaks where an image has no value."""
    values = whole(lines, quantity)
    if (lines[f"{quantity}_n"] == lines["images"]).any():
        half = lines[f"{quantity}_std"].where(values.notna()).fillna(0) / 2
        bars: dict[str, Any] = {"capsize": 1.5, "elinewidth": 0.6, **style}
        place.errorbar(lines[x], values, yerr=half, **bars)


def whole(lines: pd.DataFrame, quantity: str) -> pd.Series:
    """Averages that every image has a part in; nan for the others."""
    return lines[quantity].where(lines[f"{quantity}_n"] == lines["images"])


def with_unsmoothed(lines: pd.DataFrame, quantity: str, unsmoothed: str) -> pd.DataFrame:
    """The averages over sigma > 0, and at sigma = 0 the quantity without smoothing."""
    names = {f"{quantity}{end}": lines[f"{unsmoothed}{end}"].iloc[:1] for end in ("", "_std", "_n")}
    return pd.concat([lines.iloc[:1].assign(sigma=0.0, **names), lines[lines["sigma"] > 0].sort_values("sigma")])


def listed(values: Iterable[float]) -> str:
    found = list(values)
    return ", ".join(
        [*(f"{value:g}" for value in sorted(v for v in found if v == v)), *["–"] * any(v != v for v in found)]
    )


def corner_text(axes: Axes, text: str, right: bool) -> None:
    x, side = (0.98, "right") if right else (0.02, "left")
    axes.text(x, 0.02, text, transform=axes.transAxes, ha=side, va="bottom", fontsize=7)


def head(figure: Figure, notes: Sequence[str], unit: str) -> None:
    """Notes above a figure; ``unit``: the label of published certificates."""
    width = int(13 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, width) for line in (unit, *notes) if line)
    figure.suptitle(text, fontsize=9, color="firebrick" if unit else "black")


def legend_below(figure: Figure, styles: Mapping[str, dict[str, Any]]) -> None:
    handles = [Line2D([], [], label=method, **style) for method, style in styles.items()]
    each = 0.7 + 0.075 * max(map(len, styles))  # inches
    look: dict[str, Any] = {"fontsize": 8, "frameon": False, "handlelength": 3.5}
    columns = min(len(handles), max(1, int(figure.get_figwidth() / each)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **look)
