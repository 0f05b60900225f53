"""The figure "accuracy against stability": Lipschitz constant over PSNR, with what no method can get below."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from invsmooth.records.audits import PROBLEM
from invsmooth.reporting.averages import grouped
from invsmooth.reporting.styles import PALETTE

MOST = 12  # panels
KINDS: dict[str, dict[str, Any]] = {
    "declared": {"marker": "o", "label": "declared constant (filled: proven)"},
    "found": {"marker": "^", "label": "lower bound that the audit found"},
}
SPAN = "line: from the mean PSNR over the images to the worst\nof those compared, for which the frontier holds"


def frontier_figure(audits: pd.DataFrame, frontiers: pd.DataFrame) -> Figure:
    """A panel for each problem (data set, operator, m/n, σ_b), its frontier and the networks that were audited in
    measurement space, in which the frontier is.

    Args:
        audits, frontiers: see :mod:`invsmooth.records.audits`."""
    audits = audits[audits["threat"] == "measurement"]
    panels = grouped(frontiers, PROBLEM)[:MOST]
    per_line = min(2, max(1, len(panels)))
    n_lines = max(1, -(-len(panels) // per_line))
    figure = Figure(figsize=(1 + 5.2 * per_line, 0.6 + 5 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, per_line, squeeze=False).flatten()
    for place in axes[len(panels) :]:
        place.set_visible(False)
    for place, (key, curve) in zip(axes, panels, strict=False):
        panel = dict(zip(PROBLEM, key, strict=True))
        own = audits[(audits[PROBLEM] == pd.Series(panel)).all(axis=1)]
        draw(place, panel, curve.sort_values("psnr"), own)
    return figure


def draw(axes: Axes, panel: dict[str, object], curve: pd.DataFrame, audits: pd.DataFrame) -> None:
    axes.plot(curve["psnr"], curve["constant"], color="black", linewidth=1.4)
    floor = curve["constant"].where(curve["psnr"].abs() < float("inf"))
    axes.fill_between(curve["psnr"], 0, floor, color="black", alpha=0.1, linewidth=0)
    handles = [Line2D([], [], color="black", label="frontier: every method with this PSNR on each image")]
    for number, line in enumerate(audits.to_dict("records")):
        style = PALETTE[1 + number % (len(PALETTE) - 1)]
        for kind, look in KINDS.items():
            filled = kind == "found" or line["verdict"] == "proven"
            face = style["color"] if filled else "white"
            axes.plot([line["psnr"]], [line[kind]], marker=look["marker"], color=style["color"], markerfacecolor=face)
            axes.plot([line["psnr_worst"], line["psnr"]], [line[kind]] * 2, color=style["color"], linewidth=0.7)
        name = f"{str(line['estimator']).rpartition('.')[2]} {line['estimator_sha256'][:6]}: {line['verdict']}"
        handles.append(Line2D([], [], color=style["color"], marker="s", linestyle="", label=name))
    handles += [Line2D([], [], color="dimgrey", linestyle="", **look) for look in KINDS.values()]
    handles.append(Line2D([], [], color="dimgrey", linewidth=0.7, label=SPAN))
    axes.legend(handles=handles, fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    unit = "blocks" if panel["operator"] == "block_gaussian" else "images"
    axes.set_title(
        f"{panel['dataset']}, {panel['operator']}, m/n = {panel['ratio']:g}, σ_b = {panel['sigma_b']:g}\n"
        f"frontier over pairs of {panel['compared']} {unit} of {panel['size']}×{panel['size']}", fontsize=8,
    )  # fmt: skip
    axes.set_xlabel("PSNR, dB")
    axes.set_ylabel("Lipschitz constant of y ↦ f(y)")
    axes.set_ylim(bottom=0)
