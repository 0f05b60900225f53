"""The study's tables, from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from tests.study.claims import CELL, PAPERS, Claim, at_best, cells, line, smoothed_minus_not
from tests.study.rows import NETWORKS, by_image, unsmoothed


def markdown(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    text = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(map(str, one)) + " |" for one in text) + "\n"


def claims_table(claims: Sequence[Claim]) -> str:
    """One line for each claim. The span: smallest and largest mean difference over its cells."""
    lines = []
    for claim in claims:
        holds, fails = claim.counts
        found = [one.difference for one in claim.lines]
        span = f"{min(found):+.2f} … {max(found):+.2f} {claim.lines[0].unit}"
        lines.append(
            [claim.task, claim.text, claim.source, f"**{claim.verdict}**", f"{holds} / {fails} of {len(found)}", span]
        )
    return markdown(["task", "claim", "section", "verdict", "cells for / against", "differences"], lines)


def claim_lines(claims: Sequence[Claim]) -> str:
    lines = [
        [claim.text, one.where, f"{one.difference:+.2f}", f"[{one.low:+.2f}, {one.high:+.2f}]", one.unit]
        for claim in claims for one in claim.lines
    ]  # fmt: skip
    return markdown(["claim", "cell", "difference", "95 %", "unit"], lines)


def at_sigma(cell: pd.DataFrame, sigmas: pd.Series) -> pd.DataFrame:
    """Images × networks, each network smoothed with its own sigma of ``sigmas``; 0: not smoothed."""
    plain = by_image(unsmoothed(cell), "psnr_attacked")
    return pd.DataFrame({
        network: plain[network] if sigma == 0
        else by_image(cell[(cell["sigma"] == sigma) & (cell["network"] == network)], "psnr_median")[network]
        for network, sigma in sigmas.items()
    })  # fmt: skip


def best_sigma(cell: pd.DataFrame) -> pd.Series:
    """For each network the sigma of the largest mean PSNR, 0 where that is without smoothing."""
    mean = cell.groupby(["network", "sigma"])["psnr_median"].mean().unstack()
    mean.insert(0, 0.0, unsmoothed(cell).groupby("network")["psnr_attacked"].mean())
    return mean.idxmax(axis=1)


def robustness_table(rows: pd.DataFrame, validation: pd.DataFrame) -> str:
    """Each network in each cell: attacked, smoothed at the sigma chosen on validation images and at the best one of
    the test images, and its paired difference to ord."""
    chosen = dict(iter(validation.groupby(CELL)))
    lines = []
    for key, cell in rows[rows["eps"] > 0].groupby(CELL):
        if key not in chosen:
            continue
        plain, sigmas, oracle = by_image(unsmoothed(cell), "psnr_attacked"), best_sigma(chosen[key]), best_sigma(cell)
        smooth, best = at_sigma(cell, sigmas), at_sigma(cell, oracle)
        for network in (n for n in NETWORKS if n in smooth):
            to_ord = "" if network == "ord" else interval(plain[network] - plain["ord"])
            smooth_to_ord = "" if network == "ord" else interval(smooth[network] - smooth["ord"])
            lines.append([
                *(f"{k:g}" if isinstance(k, float) else k for k in key), network, f"{plain[network].mean():.2f}", to_ord,
                f"{smooth[network].mean():.2f} ({sigmas[network]:g})", smooth_to_ord,
                f"{best[network].mean():.2f} ({oracle[network]:g})",
            ])  # fmt: skip
    header = ["task", "σ_b, m/n", "ε", "network", "attacked", "− ord", "smoothed (σ)", "− ord", "at the best σ"]
    return markdown(header, lines)


def interval(differences: pd.Series) -> str:
    found = line("", differences)
    return f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def clean_table(rows: pd.DataFrame) -> str:
    lines = []
    for where, cell in cells(rows, attacked=False):
        clean = by_image(unsmoothed(cell), "psnr_clean")
        for network in (n for n in NETWORKS if n in clean):
            lines.append([where, network, f"{clean[network].mean():.2f}",
                          "" if network == "ord" else interval(clean[network] - clean["ord"])])  # fmt: skip
    return markdown(["setting", "network", "clean", "− ord"], lines)


def seeds_table(rows: pd.DataFrame) -> str:
    """Where there are several training seeds: what smoothing at the best sigma (of all seeds) brings ord, and the
    differences to ord under attack without smoothing, for each seed."""
    lines, seeds = [], sorted(rows["train_seed"].unique())
    for where, cell in cells(rows):
        if cell["train_seed"].nunique() == 1:
            continue
        plain = by_image(unsmoothed(cell), "psnr_attacked")
        differences = {"ord smoothed − ord": smoothed_minus_not(cell, "ord")}
        differences |= {f"{n} − ord": plain[n] - plain["ord"] for n in NETWORKS[1:] if n in plain}
        for name, found in differences.items():
            each = found.dropna().groupby("train_seed").mean()
            lines.append([where, name, *(f"{each[s]:+.2f}" if s in each else "–" for s in seeds), interval(found)])
    return markdown(["cell", "difference, dB", *(f"seed {seed}" for seed in seeds), "all"], lines)


def noise_table(certified: pd.DataFrame) -> str:
    """Question 3: what a network keeps when it is smoothed, and what error and mean then certify at eps = 0.1."""
    lines = []
    for (task, setting, sigma), cell in certified[certified["sigma"].notna()].groupby(["task", "setting", "sigma"]):
        at = {eps: cell[cell["eps"] == eps] for eps in (0.0, 0.1)}
        for network in (n for n in NETWORKS if n in set(cell["network"])):
            own = {eps: one[one["network"] == network] for eps, one in at.items()}
            error, mean = (own[0.1][own[0.1]["certifier"] == c] for c in ("error", "mean"))
            lines.append([
                task, f"{setting:g}", f"{sigma:g}", network, f"{own[0.0]['psnr_clean'].mean():.2f}",
                f"{own[0.0][own[0.0]['certifier'] == 'error']['psnr_median'].mean():.2f}",
                f"{error['certified_psnr'].mean():.2f}", f"{mean['bound'].mean():.2e}",
                f"{mean['certified_psnr_mean'].mean():.2f}",
            ])  # fmt: skip
    header = ["task", "σ_b, m/n", "σ", "network", "clean", "smoothed", "`error`, ε = 0.1", "bound of `mean`, ε = 0.1",
              "PSNR of `mean`, ε = 0.1"]  # fmt: skip
    return markdown(header, lines)


def guarantees_table(proven: pd.DataFrame, test: pd.DataFrame) -> str:
    """Question 2, a table for each task: estimators with a proven constant, and the trained networks that have none, at
    the same images."""
    return "\n".join(
        guarantees_of(task, own, test[test["task"] == task]) for task, own in proven.groupby("task", sort=False)
    )


def guarantees_of(task: str, proven: pd.DataFrame, test: pd.DataFrame) -> str:
    radii = sorted(proven.loc[proven["eps"] > 0, "eps256"].unique())
    paper = set(test["eps256"])
    lines = []
    for setting, own in proven.groupby("setting"):
        for name, mine in own.groupby("network"):
            at = mine.groupby("eps256")[["psnr_attacked", "certified_psnr_lipschitz"]].mean()
            cells = [f"{at.loc[e, 'psnr_attacked']:.2f}, {at.loc[e, 'certified_psnr_lipschitz']:.2f}" for e in radii]
            lines.append([task, f"{setting:g}", name, f"{mine['psnr_clean'].mean():.2f}", *cells])
        here = unsmoothed(test[test["setting"] == setting])
        for name in (n for n in NETWORKS if n in set(here["network"])):
            mine = here[here["network"] == name]
            at = mine.groupby("eps256")["psnr_attacked"].mean()
            cells = [f"{at[e]:.2f}, none" if e in paper else "–" for e in radii]
            lines.append([task, f"{setting:g}", name, f"{mine['psnr_clean'].mean():.2f}", *cells])
    header = ["task", "σ_b, m/n", "network", "clean", *(f"ε = {e:g}: attacked, certified" for e in radii)]
    return markdown(header, lines)


def proven_table(proven: pd.DataFrame, test: pd.DataFrame) -> str:
    """Networks with a proven constant against ord, paired by image (the mean of ord's training seeds)."""
    lines, ord_ = [], test[test["network"] == "ord"]
    for cell, own in proven[proven["eps256"].isin(set(test["eps256"])) & (proven["eps"] > 0)].groupby(CELL):
        same = (ord_[CELL] == pd.Series(dict(zip(CELL, cell, strict=True)))).all(axis=1)
        base = unsmoothed(ord_[same]).groupby("image")["psnr_attacked"].mean()
        for name, mine in own.groupby("network"):
            attacked = mine.groupby(["image", "train_seed"])["psnr_attacked"].mean()
            difference = attacked - base.reindex(attacked.index.get_level_values("image")).to_numpy()
            task, setting, eps = cell
            lines.append([task, f"{setting:g}", f"{eps:g}", name, f"{attacked.mean():.2f}", interval(difference)])
    return markdown(["task", "σ_b, m/n", "ε", "network", "attacked", "− ord"], lines)


def targets_table(attacked: pd.DataFrame, test: pd.DataFrame) -> str:
    """PSNR of the smoothed network under attacks on itself, and under those on the network without smoothing."""
    lines = []
    for (task, setting, eps, sigma), cell in attacked[attacked["eps"] > 0].groupby([*CELL, "sigma"]):
        same = test[
            (test["task"] == task) & (test["setting"] == setting) & (test["eps256"] == eps) & (test["sigma"] == sigma)
            & test["image"].isin(cell["image"])
        ]  # fmt: skip
        own = by_image(cell, "psnr_median")
        base = by_image(same, "psnr_median").loc[own.index]
        for network in (n for n in NETWORKS if n in own):
            lines.append([
                task, f"{setting:g}", f"{eps:g}", f"{sigma:g}", network, f"{base[network].mean():.2f}",
                f"{own[network].mean():.2f}", interval(own[network] - base[network]),
            ])  # fmt: skip
    header = ["task", "σ_b, m/n", "ε", "σ", "network", "attack on f", "on the smoothed f", "difference"]
    return markdown(header, lines)


def certifiers_table(rows: pd.DataFrame) -> str:
    """The bounds of all certifiers that smooth, MSE. discrepancy, mean and center: how far an attack moves the result;
    error: its error; radius: the ε up to which the error is below the threshold."""
    lines = []
    for (task, setting, network, certifier), own in rows.groupby(["task", "setting", "network", "certifier"]):
        eps = sorted(e for e in own["eps"].unique() if e > 0)
        if certifier == "radius":
            found = own["certified_eps"].mean()
            cells = ["none" if np.isnan(found) else f"{found:.3f}"] * len(eps)
        else:
            cells = [f"{own.loc[own['eps'] == e, 'bound'].mean():.2e}" for e in eps]
        lines.append([task, f"{setting:g}", network, f"`{certifier}`", *cells])
    return markdown(["task", "σ_b, m/n", "network", "certifier", *(f"ε = {e:g}" for e in eps)], lines)


def draws_table(draws: pd.DataFrame) -> str:
    """The paper's Table 4."""
    lines = [
        [task, f"{setting:g}", f"{eps:g}", f"{sigma:g}", n, f"{one['psnr_median'].mean():.3f}",
         f"{one['psnr_certified'].mean():.3f}", f"{one['discrepancy_certified'].mean():.3e}", f"{one['seconds'].mean():.2f}"]
        for (task, setting, eps, sigma, n), one in draws.groupby(["task", "setting", "eps256", "sigma", "n_samples"])
    ]  # fmt: skip
    return markdown(
        ["task", "σ_b, m/n", "ε", "σ", "S", "median", "draw of rank K", "discrepancy, as published", "seconds"], lines
    )


__all__ = [
    "PAPERS",
    "at_best",
    "claim_lines",
    "claims_table",
    "clean_table",
    "draws_table",
    "noise_table",
    "robustness_table",
]
