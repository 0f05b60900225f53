"""Result rows to figures (PNG and PDF). Matplotlib without pyplot: no global state, no window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invsmooth.pictures import picture_file
from invsmooth.reporting.tables import SETTING
from invsmooth.units import PAPER_LABEL, Units

TITLES = {
    "clean": "clean x", "measured": "measured Aᵀy", "reconstructed": "reconstruction\nof y(x)",
    "attacked": "reconstruction\nof y(x+ξ)", "median": "smoothed median\nof y(x+ξ)",
    "certified": "certified draw\nof y(x+ξ)",
}  # fmt: skip


def certificate_figure(rows: pd.DataFrame) -> Figure:
    """PSNR and certificate over sigma, a column for each setting, a curve for each eps. Bars: half a standard deviation
    over the images. At sigma = 0 the PSNR is that of the unsmoothed attacked reconstruction."""
    settings = list(rows.groupby(SETTING, dropna=False))
    figure = Figure(figsize=(1.2 + 3.6 * len(settings), 6.4), layout="constrained")
    axes = figure.subplots(2, len(settings), squeeze=False, sharex="col")
    radii = sorted(rows["eps"].unique())
    colours = dict(zip(radii, colormaps["viridis"](np.linspace(0, 0.85, len(radii))), strict=True))
    for column, (key, group) in enumerate(settings):
        setting = dict(zip(SETTING, key, strict=True))
        top, bottom = axes[0, column], axes[1, column]
        certified = {"error": "certified_psnr", "radius": "certified_eps"}.get(str(setting["certifier"]), "bound")
        for marker, (eps, at_eps) in zip("osD^vPX*<>" * len(radii), group.groupby("eps"), strict=False):
            style: dict[str, Any] = {"color": colours[eps], "marker": marker, "markersize": 4, "linewidth": 1.3}
            curve(top, at_eps, certified, label=f"ε = {eps:g}", **style)
            if setting["certifier"] == "discrepancy":
                curve(top, at_eps, "discrepancy_median", linestyle=":", **style | {"marker": "", "linewidth": 1})
            unsmoothed = at_eps.assign(sigma=0.0, psnr_median=at_eps["psnr_attacked"]).drop_duplicates("image")
            curve(bottom, pd.concat([unsmoothed, at_eps[at_eps["sigma"] > 0]]), "psnr_median", **style)
        top.set_title(panel_title(setting), fontsize=9)
        bottom.set_xlabel("σ (grey levels)")
        if certified == "bound":
            top.set_yscale("log")
        if nulls := without_certificate(group):
            top.text(0.98, 0.03, nulls, transform=top.transAxes, ha="right", va="bottom", fontsize=7)
    axes[0, 0].set_ylabel("certificate (solid)\nmedian discrepancy (dotted), MSE")
    axes[1, 0].set_ylabel("PSNR of the smoothed median, dB\n(σ = 0: attacked, unsmoothed)")
    axes[0, -1].legend(fontsize=8)
    if (rows["units"] == Units.paper).any():
        figure.suptitle(f"certificates {PAPER_LABEL}", fontsize=9, color="firebrick")
    return figure


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


def visual_figure(rows: pd.DataFrame) -> Figure | None:
    """The stages of one image for each setting, PSNR and SSIM below: at the largest eps, and at the largest that has a
    certificate; there with the sigma of the best smoothed PSNR. None where the runs kept no pictures."""
    with_pictures = rows[[picture_of(row).is_file() for _, row in rows.iterrows()]]
    if with_pictures.empty:
        return None
    shown = [row for _, group in with_pictures.groupby(SETTING, dropna=False) for row in telling_rows(group)]
    figure = Figure(figsize=(1.9 * len(TITLES), 0.4 + 2.2 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(TITLES), squeeze=False)
    for line, row in enumerate(shown):
        with np.load(picture_of(row)) as pictures:
            for place, (kind, title) in zip(axes[line], TITLES.items(), strict=True):
                place.set(xticks=[], yticks=[], box_aspect=1)
                if kind in pictures:
                    place.imshow(pictures[kind], cmap="gray", vmin=0, vmax=255)
                else:
                    place.text(0.5, 0.5, "none", ha="center", transform=place.transAxes)
                if line == 0:
                    place.set_title(title, fontsize=8)
                place.set_xlabel(caption(row, kind), fontsize=8)
        paper = f"\n{PAPER_LABEL}" if row["units"] == Units.paper else ""
        axes[line, 0].set_ylabel(
            f"{row['task']}, {measurement(row)}\nε = {row['eps']:g}, σ = {row['sigma']:g}{paper}",
            fontsize=8,
        )
    return figure


def picture_of(row: pd.Series) -> Path:
    return picture_file(Path(row["folder"]), row["image"], row["ratio"], row["sigma_b"], row["eps"], row["sigma"])


def telling_rows(rows: pd.DataFrame) -> list[pd.Series]:
    """Of one image: the best smoothed row at the largest eps, and at the largest eps with a certificate."""
    rows = rows[rows["image"] == rows["image"].iloc[0]]
    shown = []
    for candidates in (rows, rows[rows["bound"].notna()]):
        candidates = candidates[candidates["eps"] == candidates["eps"].max()]
        if len(candidates):
            shown.append(candidates.loc[candidates["psnr_median"].idxmax()])
    return shown[:1] if len(shown) == 2 and shown[0].equals(shown[1]) else shown


def caption(row: pd.Series, kind: str) -> str:
    """PSNR and SSIM under a picture."""
    column = {"measured": "measured", "reconstructed": "clean"}.get(kind, kind)
    if kind == "clean":
        return str(row["image"])
    if pd.isna(row[f"psnr_{column}"]):
        return "no certificate"
    ssim = f", {row[f'ssim_{column}']:.3f}" if f"ssim_{column}" in row else ""
    return f"{row[f'psnr_{column}']:.2f} dB{ssim}"


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path``.png and ``path``.pdf, each all or nothing."""
    written = []
    for suffix in (".png", ".pdf"):
        final = path.with_name(path.name + suffix)
        temporary = path.with_name(f".{path.name}.{os.getpid()}{suffix}")
        # A fixed date: the same rows give the same file.
        figure.savefig(temporary, dpi=150, metadata={"CreationDate": None} if suffix == ".pdf" else None)
        os.replace(temporary, final)
        written.append(final)
    return written
