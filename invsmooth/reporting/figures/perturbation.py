"""The figure of the worst perturbation that an audit found: a line of three pictures for each search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def perturbation_figure(lines: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> Figure:
    """``lines``: a title, and three arrays (H, W) or (H, W, 3) by their headings: a reconstruction, shown on [0, 1], and two
    differences, each on a scale of its own, grey at 0."""
    figure = Figure(figsize=(9, 0.4 + 3.3 * len(lines)), layout="constrained")
    axes = figure.subplots(len(lines), 3, squeeze=False)
    for line, (title, arrays) in zip(axes, lines, strict=True):
        for place, (heading, array) in zip(line, arrays.items(), strict=True):
            first, size = place is line[0], float(np.abs(array).max()) or 1.0
            low, high = (0.0, 1.0) if first else (-size, size)
            # matplotlib takes no range for three channels.
            scaled = ((array - low) / (high - low)).clip(0, 1)
            place.imshow(scaled, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            place.set_axis_off()
            norm = "" if first else f"\nl2 norm {np.linalg.norm(array):.3g}, black to white ±{size:.2g}"
            place.set_title(heading + norm, fontsize=8)
        line[0].text(-0.06, 0.5, title, rotation=90, va="center", ha="center", transform=line[0].transAxes, fontsize=8)
    return figure
