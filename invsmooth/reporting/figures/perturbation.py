"""The figure of the worst perturbation that an audit found: a line of three pictures for each search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

HEADINGS = {
    "reconstruction": "reconstruction f(v)", "perturbation": "perturbation u − v", "moved": "f(u) − f(v)",
}  # fmt: skip


def perturbation_figure(lines: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> Figure:
    """``lines``: a title, and an array (H, W) for each of HEADINGS. Differences are on a scale of their own, grey at 0."""
    figure = Figure(figsize=(9, 0.4 + 3.3 * len(lines)), layout="constrained")
    axes = figure.subplots(len(lines), len(HEADINGS), squeeze=False)
    for line, (title, arrays) in zip(axes, lines, strict=True):
        for place, (name, heading) in zip(line, HEADINGS.items(), strict=True):
            array = arrays[name]
            size = float(np.abs(array).max()) or 1.0
            low, high = (0.0, 1.0) if name == "reconstruction" else (-size, size)
            place.imshow(array, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            place.set_axis_off()
            norm = (
                "" if name == "reconstruction" else f"\nl2 norm {np.linalg.norm(array):.3g}, black to white ±{size:.2g}"
            )
            place.set_title(heading + norm, fontsize=8)
        line[0].text(-0.06, 0.5, title, rotation=90, va="center", ha="center", transform=line[0].transAxes, fontsize=8)
    return figure
