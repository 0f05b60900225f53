"""How methods look in figures: Okabe and Ito's colours for the colour-blind, markers and dashes for grey print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

STYLES: Mapping[str, dict[str, Any]] = {
    "ord": {"color": "#000000", "marker": "o", "linestyle": "-"},
    "jcb": {"color": "#E69F00", "marker": "s", "linestyle": (0, (5, 1.5))},
    "adv": {"color": "#0072B2", "marker": "^", "linestyle": (0, (5, 1.5, 1, 1.5))},
    "smt_adv": {"color": "#009E73", "marker": "D", "linestyle": (0, (2.5, 1))},
    "smt_grad": {"color": "#D55E00", "marker": "v", "linestyle": (0, (1, 1))},
}
OTHER = {"color": "#CC79A7", "marker": "P", "linestyle": (0, (7, 2))}
FILLS = ("full", "left", "right", "top", "bottom")
"""Of the markers of an algorithm's methods, in turn; none is for points of another kind."""


def method_styles(methods: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """The style of each of (algorithm, method)."""
    found: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for algo, method in methods:
        number = seen.get(algo, 0)
        seen[algo] = number + 1
        look = {"markersize": 4, "linewidth": 1.2, "markeredgewidth": 0.9, "fillstyle": FILLS[number % len(FILLS)]}
        found[method] = STYLES.get(algo, OTHER) | look
    return found


def legend_below(figure: Figure, styles: Mapping[str, dict[str, Any]], shown: Sequence[str]) -> None:
    """One legend for all panels."""
    handles = [Line2D([], [], label=method, **styles[method]) for method in shown]
    each = 0.7 + 0.075 * max(map(len, shown))  # inches
    columns = min(len(handles), max(1, int(figure.get_figwidth() / each)))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, handlelength=3.5
    )
