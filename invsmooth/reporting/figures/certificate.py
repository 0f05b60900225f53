"""The figure of certificates over sigma."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.reporting.averages import PANEL, Averages, grouped, in_panels, panel_title
from invsmooth.reporting.notes import confidence_notes, unit_note
from invsmooth.reporting.styles import (
    certifier_style,
    corner_text,
    eps_styles,
    errorbar,
    head,
    listed,
    whole,
    with_unsmoothed,
)

Styles = Mapping[float, dict[str, Any]]


def certificate_figure(averages: Averages) -> Figure:
    """Over sigma, a column for each setting: certificates, a curve for each eps, and PSNR below.
    Certificates without sigma are horizontal lines."""
    settings, certifiers = grouped(in_panels(averages.table, PANEL), PANEL), averages.certifiers()
    attacked = [c for c in certifiers if c.at == "attacked"]
    shown = {(c.at, c.shown) for c in certifiers if c.per_eps}  # others may show the same picture
    clean = [c for c in certifiers if c.at != "attacked" and (c.per_eps or (c.at, c.shown) not in shown)]
    n_lines = len(certifiers) + len(attacked) + bool(clean)
    figure = Figure(figsize=(1.2 + 3.6 * len(settings), 0.6 + 2.9 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, len(settings), squeeze=False, sharex="col")
    styles = eps_styles(averages.table["eps"])
    for column, (key, group) in enumerate(settings):
        of = {c.name: group[group["certifier"] == c.name].sort_values(["eps", "sigma"]) for c in certifiers}
        places = iter(axes[:, column])
        for certifier in certifiers:
            draw_certificate(next(places), of[certifier.name], certifier, styles)
        for certifier in attacked:
            place = next(places)
            place.set_ylabel(f"PSNR of the {certifier.shown}, dB\n(σ = 0: attacked, unsmoothed)")
            for (eps,), at_eps in grouped(of[certifier.name], ["eps"]):
                every = with_unsmoothed(at_eps, "psnr_median", "psnr_attacked")
                errorbar(place, every, "sigma", "psnr_median", styles[eps])
        if clean:
            axes[-1, column].set_ylabel("PSNR smoothed, no attack, dB\n(σ = 0: unsmoothed)")
        for certifier in (c for c in clean if len(of[c.name])):
            once = with_unsmoothed(of[certifier.name].drop_duplicates("sigma"), "psnr_median", "psnr_clean")
            style = certifier_style(certifier) | {"markersize": 4, "linewidth": 1.3, "label": certifier.shown}
            errorbar(axes[-1, column], once, "sigma", "psnr_median", style)
        axes[0, column].set_title(panel_title(dict(zip(PANEL, key, strict=True))), fontsize=9)
        smoothed = group["sigma"].notna().any()
        axes[-1, column].set_xlabel("σ (grey levels)" if smoothed else "without smoothing")
        if not smoothed:
            axes[-1, column].set_xticks([])
        for place in axes[:, column] if column else ():
            place.set_ylabel("")
    for place in (place for place in axes.flat if not place.has_data() and not place.texts):
        hide(place, axis=place in axes[-1])
    legends = [(tuple(place.get_legend_handles_labels()[1]), place) for place in axes.flat[::-1]]
    for labelled in {names: place for names, place in legends if names}.values():
        labelled.legend(fontsize=8)  # each legend once
    head(figure, confidence_notes(averages.rows, averages.declared), unit_note(averages.rows))
    return figure


def hide(axes: Axes, axis: bool) -> None:
    """Leave a place without values white, but for its axis of sigma, if ``axis``."""
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_visible(axis)
    axes.tick_params(axis="y", which="both", left=False, labelleft=False)
    axes.tick_params(axis="x", bottom=axis)


def draw_certificate(axes: Axes, lines: pd.DataFrame, certifier: CertifierDeclaration, styles: Styles) -> None:
    """The main value, and dotted its estimates."""
    main = certifier.column == "bound"
    dotted = [c for c in certifier.columns if main and c.unit == "MSE" and c.heading and not c.certified]
    axis = " ".join(certifier.axis.removeprefix(f"{certifier.name}: ").split())
    said = "" if "dotted" in axis else "".join(f" (dotted: {column.heading})" for column in dotted)
    axes.set_ylabel(textwrap.fill(f"{certifier.name}: {axis}{said}", 34))
    if not certifier.per_eps:
        once = lines.drop_duplicates("sigma")
        errorbar(axes, once, "sigma", certifier.column, certifier_style(certifier) | {"markersize": 4})
    else:
        for (eps,), at_eps in grouped(lines, ["eps"]):
            look: dict[str, Any] = styles[eps] | {"label": f"ε = {eps:g}"}
            errorbar(axes, at_eps[at_eps["sigma"].notna()], "sigma", certifier.column, look)
            levels = whole(at_eps[at_eps["sigma"].isna()], certifier.column)
            for level in levels[levels > 0] if main else levels.dropna():  # 0 has no logarithm
                axes.axhline(level, **look | {"marker": "", "zorder": 1})
            for column in dotted:
                look = styles[eps] | {"linestyle": ":", "marker": "", "linewidth": 1}
                errorbar(axes, at_eps, "sigma", column.name, look)
    if main:
        axes.set_yscale("log")
    if nulls := without_certificate(lines):
        corner_text(axes, nulls, right=main)


def without_certificate(lines: pd.DataFrame) -> str:
    """The cells where some image has no certificate, in words."""
    nulls = lines[lines["bound_n"] < lines["images"]].groupby("eps")["sigma"].unique()
    found = [f"ε = {eps:g}: σ = {listed(sigmas)}" for eps, sigmas in nulls.items()]
    return "\n".join(["no certificate at", *found]) if found else ""
