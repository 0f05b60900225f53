"""The study's figures, one for each question."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from invsmooth.reporting.styles import PALETTE
from tests.study.claims import CELL
from tests.study.rows import NETWORKS, unsmoothed

STYLES = {name: PALETTE[k] | {"markersize": 4, "linewidth": 1.2} for k, name in enumerate(NETWORKS)}
LOOKS = {"denoise": "denoising, σ_b = {:g}", "cs": "compressed sensing, m/n = {:g}"}


def over_sigma(rows: pd.DataFrame) -> Figure:
    """Question 1: mean PSNR under attack over sigma; sigma = 0 is without smoothing. A row of panels for each setting."""
    attacked = rows[rows["eps"] > 0]
    settings = list(attacked.groupby(["task", "setting"]))
    columns = max(own["eps256"].nunique() for _, own in settings)
    figure = Figure(figsize=(2.9 * columns, 2.6 * len(settings)), layout="constrained")
    grid = figure.subplots(len(settings), columns, squeeze=False)
    for line, ((task, setting), own) in zip(grid, settings, strict=True):
        for axes in line[own["eps256"].nunique() :]:
            axes.remove()
        for axes, (eps, cell) in zip(line, own.groupby("eps256"), strict=False):
            for network in (n for n in NETWORKS if n in set(cell["network"])):
                mine = cell[cell["network"] == network]
                curve = mine.groupby("sigma")["psnr_median"].mean()
                curve.loc[0.0] = unsmoothed(mine)["psnr_attacked"].mean()
                curve = curve.sort_index()
                axes.plot(curve.index, curve.to_numpy(), label=network, **STYLES[network])
            axes.set_title(f"{LOOKS[task].format(setting)}, ε = {eps:g}", fontsize=8)
            axes.set_xlabel("σ of smoothing (grey levels)", fontsize=8)
            axes.tick_params(labelsize=7)
        line[0].set_ylabel("PSNR (dB)", fontsize=8)
    drawn = [axes.get_legend_handles_labels() for axes in figure.axes]
    named = {name: handle for handles, names in drawn for handle, name in zip(handles, names, strict=True)}
    shown = [name for name in NETWORKS if name in named]
    figure.legend([named[n] for n in shown], shown, loc="outside lower center", ncols=len(shown), fontsize=8)
    return figure


def guarantees(proven: pd.DataFrame, certified: pd.DataFrame, test: pd.DataFrame) -> Figure:
    """Question 2: mean certified PSNR over eps, and what attacks leave of ord. A panel for each setting."""
    settings = list(test.groupby(["task", "setting"]))
    figure = Figure(figsize=(3.4 * len(settings), 4.0), layout="constrained")
    for axes, ((task, setting), own) in zip(figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
        here = [f[(f["task"] == task) & (f["setting"] == setting)] for f in (proven, certified)]
        for k, (network, mine) in enumerate(here[0].groupby("network")):
            curve = mine[mine["eps"] > 0].groupby("eps256")["certified_psnr_lipschitz"].mean()
            axes.plot(curve.index, curve.to_numpy(), label=f"{network}, proven", **small(k + 1))
        smoothed = here[1][(here[1]["certifier"] == "error") & (here[1]["eps"] > 0)]
        for network, dashes in (("ord", "-."), ("smt_grad25", ":")):
            mine = smoothed[smoothed["network"] == network]
            # Of cells where every image has a certificate; at each eps the sigma with the larger mean.
            means = mine.groupby(["eps256", "sigma"])["certified_psnr"].agg(lambda v: v.mean(skipna=False))
            best = means.groupby("eps256").max().dropna()
            axes.plot(best.index, best.to_numpy(), dashes, color="grey", label=f"{network}, certified by smoothing")
        for network, look in (("ord", "ko--"), (f"ord{setting:g}", "k^:")):
            if network in set(own["network"]):
                mine = unsmoothed(own[(own["network"] == network) & (own["eps"] > 0)])
                attacked = mine.groupby("eps256")["psnr_attacked"].mean()
                axes.plot(attacked.index, attacked.to_numpy(), look, markersize=4, label=f"{network}, attacked")
        axes.set_xscale("log")
        axes.set_title(LOOKS[task].format(setting), fontsize=8)
        axes.set_xlabel("ε (ℓ2 on 256×256 pixels)", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    figure.axes[0].set_ylabel("PSNR (dB)", fontsize=8)
    return figure


def small(k: int) -> dict[str, object]:
    return PALETTE[k % len(PALETTE)] | {"markersize": 3, "linewidth": 1.2}


def kept(certified: pd.DataFrame) -> Figure:
    """Question 3: PSNR without attack, plain and smoothed at each sigma."""
    rows = certified[(certified["eps"] == 0) & (certified["certifier"] == "error")]
    settings = list(rows.groupby(["task", "setting"]))
    figure = Figure(figsize=(3.4 * len(settings), 3.0), layout="constrained")
    for axes, ((task, setting), own) in zip(figure.subplots(1, len(settings), squeeze=False)[0], settings, strict=True):
        names = [n for n in NETWORKS if n in set(own["network"])]
        bars = {"not smoothed": own.groupby("network")["psnr_clean"].mean()}
        bars |= {f"σ = {s:g}": one.groupby("network")["psnr_median"].mean() for s, one in own.groupby("sigma")}
        for k, (label, heights) in enumerate(bars.items()):
            axes.plot(range(len(names)), heights[names].to_numpy(), label=label, **PALETTE[k] | {"linestyle": "none"})
        axes.set_xticks(range(len(names)), names, rotation=60, fontsize=7)
        axes.grid(axis="y", linewidth=0.3)
        axes.set_title(LOOKS[task].format(setting), fontsize=8)
        axes.tick_params(labelsize=7)
    figure.axes[0].set_ylabel("PSNR (dB)", fontsize=8)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    return figure


__all__ = ["CELL", "guarantees", "kept", "over_sigma"]
