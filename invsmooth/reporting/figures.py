"""Result rows to figures (PNG and PDF). Matplotlib without pyplot: no global state, no window."""

from __future__ import annotations

import itertools
import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invsmooth.records.rows import AT_ATTACKED
from invsmooth.reporting.notes import confidence_notes, unit_note
from invsmooth.reporting.tables import SETTING

WITHOUT_CERTIFIER = [c for c in SETTING if c != "certifier"]

CERTIFICATES = {
    "discrepancy": ("bound", "discrepancy: MSE to what\nwas reconstructed (dotted: median)"),
    "error": ("certified_psnr", "error: certified PSNR, dB"),
    "radius": ("certified_eps", "radius: certified ε"),
    "mean": ("bound", "mean: MSE that the\nsmoothed mean can move"),
    "center": ("bound", "center: MSE that\nthe centre can move"),
}
"""The column that says what a certifier certifies, and what that is."""

CELL = ["run_id", "image", "sigma"]
"""What the rows of one certifier and setting that differ in eps alone have in common."""

# Okabe and Ito's colours, which the colour-blind tell apart; the markers tell them apart in grey.
COLOURS = {"discrepancy": "#0072B2", "mean": "#D55E00", "center": "#009E73", "error": "#CC79A7", "radius": "#E69F00"}
MARKERS = {"discrepancy": "o", "mean": "s", "center": "^", "error": "D", "radius": "v"}


def certificate_figure(rows: pd.DataFrame) -> Figure:
    """Over sigma, a column for each setting: the certificate of each certifier, a curve for each eps, and below the PSNR of
    what is smoothed. Bars: half a standard deviation over the images."""
    settings = list(rows.groupby(WITHOUT_CERTIFIER, dropna=False))
    certifiers = [c for c in CERTIFICATES if c in set(rows["certifier"])]
    n_lines = len(certifiers) + (AT_ATTACKED in certifiers) + (certifiers != [AT_ATTACKED])
    figure = Figure(figsize=(1.2 + 3.6 * len(settings), 0.6 + 2.9 * n_lines), layout="constrained")
    axes = figure.subplots(n_lines, len(settings), squeeze=False, sharex="col")
    styles = eps_styles(rows)
    for column, (key, group) in enumerate(settings):
        of = {certifier: group[group["certifier"] == certifier] for certifier in certifiers}
        places = iter(axes[:, column])
        for certifier in certifiers:
            draw_certificate(next(places), of[certifier], certifier, styles)
        if AT_ATTACKED in certifiers:
            draw_attacked_quality(next(places), of[AT_ATTACKED], styles)
        if certifiers != [AT_ATTACKED]:
            draw_clean_quality(next(places), {c: mine for c, mine in of.items() if c != AT_ATTACKED})
        axes[0, column].set_title(panel_title(dict(zip(WITHOUT_CERTIFIER, key, strict=True))), fontsize=9)
        axes[-1, column].set_xlabel("σ (grey levels)")
        for place in axes[:, column] if column else ():
            place.set_ylabel("")
    for labelled in {tuple(names): place for place in axes.flat[::-1] if (names := legend_labels(place))}.values():
        labelled.legend(fontsize=8)  # each legend once
    head(figure, rows)
    return figure


def legend_labels(axes: Axes) -> list[str]:
    return axes.get_legend_handles_labels()[1]


def eps_styles(rows: pd.DataFrame) -> dict[Any, dict[str, Any]]:
    """Colour and marker of the curve of each eps."""
    radii = sorted(rows["eps"].unique())
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(radii)))
    markers = itertools.cycle("osD^vPX*<>")
    return {
        eps: {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.3}
        for eps, colour, marker in zip(radii, colours, markers, strict=False)
    }


def draw_certificate(axes: Axes, rows: pd.DataFrame, certifier: str, styles: dict[Any, dict[str, Any]]) -> None:
    column, label = CERTIFICATES[certifier]
    axes.set_ylabel(label)
    if certifier == "radius":  # the same for all eps
        once = rows.drop_duplicates(CELL)
        curve(axes, once, column, color=COLOURS[certifier], marker=MARKERS[certifier], markersize=4)
    else:
        for eps, at_eps in rows.groupby("eps"):
            curve(axes, at_eps, column, label=f"ε = {eps:g}", **styles[eps])
            if certifier == "discrepancy":
                dotted = {"linestyle": ":", "marker": "", "linewidth": 1}
                curve(axes, at_eps, "discrepancy_median", **styles[eps] | dotted)
    if column == "bound":
        axes.set_yscale("log")
    if nulls := without_certificate(rows):
        x, side = (0.98, "right") if column == "bound" else (0.02, "left")
        axes.text(x, 0.03, nulls, transform=axes.transAxes, ha=side, va="bottom", fontsize=7)


def draw_attacked_quality(axes: Axes, rows: pd.DataFrame, styles: dict[Any, dict[str, Any]]) -> None:
    """Of the attacked measurement of each eps, which its certificate is taken at."""
    axes.set_ylabel("PSNR of the smoothed median, dB\n(σ = 0: attacked, unsmoothed)")
    for eps, at_eps in rows.groupby("eps"):
        curve(axes, with_unsmoothed(at_eps, "psnr_attacked"), "psnr_median", **styles[eps])


def draw_clean_quality(axes: Axes, of: dict[str, pd.DataFrame]) -> None:
    """Of the clean measurement, which the other certificates are taken at."""
    axes.set_ylabel("PSNR smoothed, no attack, dB\n(σ = 0: unsmoothed)")
    for certifier, rows in of.items():
        if certifier == "radius" and "error" in of:
            continue  # shows what error shows
        label = {"mean": "smoothed mean", "center": "centre"}.get(certifier, "smoothed median")
        once = with_unsmoothed(rows.drop_duplicates(CELL), "psnr_clean")
        style = {"color": COLOURS[certifier], "marker": MARKERS[certifier], "markersize": 4, "linewidth": 1.3}
        curve(axes, once, "psnr_median", label=label, **style)


def with_unsmoothed(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with the PSNR of the unsmoothed reconstruction at sigma = 0."""
    unsmoothed = rows.assign(sigma=0.0, psnr_median=rows[column]).drop_duplicates(["run_id", "image"])
    return pd.concat([unsmoothed, rows[rows["sigma"] > 0]])


def head(figure: Figure, rows: pd.DataFrame) -> None:
    """Above a figure: what is certified, with which confidence."""
    unit = unit_note(rows)
    lines = [unit, *confidence_notes(rows)]
    width = int(13 * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, width) for line in lines if line)
    figure.suptitle(text, fontsize=9, color="firebrick" if unit else "black")


def curve(axes: Axes, rows: pd.DataFrame, column: str, **style: Any) -> None:
    """Mean of ``column`` over the images against sigma, where every image has a value, with half-deviation bars."""
    groups = rows.groupby("sigma")[column]
    mean, half = groups.mean(), groups.std(ddof=0).fillna(0) / 2
    whole = groups.count() == groups.size()
    label = style.pop("label", None)
    axes.errorbar(mean.index[whole], mean[whole], yerr=half[whole], capsize=2, label=label, **style)


def without_certificate(rows: pd.DataFrame) -> str:
    """The cells without a certificate, in words."""
    nulls = rows[rows["bound"].isna()].groupby("eps")["sigma"].unique()
    lines = [f"ε = {eps:g}: σ = {', '.join(f'{s:g}' for s in sorted(sigmas))}" for eps, sigmas in nulls.items()]
    return "\n".join(["no certificate at", *lines]) if lines else ""


def panel_title(setting: dict[str, Any]) -> str:
    title = f"{setting['task']}, {setting['algo']} ({setting['dataset']})\n{measurement(setting)}"
    attack, target = setting["attack"], setting["attack_target"]
    # The usual attack goes without saying.
    return title if pd.isna(attack) or (attack, target) == ("pgd", "base") else f"{title}, {attack} on {target}"


def measurement(row: Any) -> str:
    """The measurement setting of a row, in words."""
    return f"m/n = {row['ratio']:g}, σ_b = {row['sigma_b']:g}"


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path``.png and ``path``.pdf, each all or nothing."""
    written = []
    for suffix in (".png", ".pdf"):
        final = path.with_name(path.name + suffix)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
        # A fixed date: the same rows give the same file.
        figure.savefig(temporary, dpi=150, metadata={"CreationDate": None} if suffix == ".pdf" else None)
        figure.set_layout_engine("none")  # what the first file found serves the second, too
        os.replace(temporary, final)
        written.append(final)
    return written
