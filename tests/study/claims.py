"""What the paper claims, as differences of paired images with bootstrap intervals (docs/study.md).

A claim is checked for each task in every cell (sigma_b or m/n, eps) that it speaks of. *Supported*: in more than half of its
cells the 95 % interval is on the claimed side, and in none on the other. *Refuted*: in more than half it is on the other
side. *Undecided*: everything else. The intervals are over images and, where there are several, over training seeds: both
are resampled. A network is compared with the other one of its seed, which had the same start and the same batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from invsmooth.reporting.tables.significance import Difference, paired_differences
from tests.study.rows import by_image, unsmoothed

PAPERS = ("ord", "jcb", "adv", "smt_adv", "smt_grad")  # the five algorithms
BASELINES, OURS = ("ord", "jcb", "adv"), ("smt_adv", "smt_grad")  # as the paper divides them
CELL = ["task", "setting", "eps256"]
RESAMPLES, SEED = 2000, 0


@dataclass(frozen=True)
class Line:
    """One cell: a difference that is positive where the claim holds."""

    where: str
    difference: float
    low: float
    high: float
    unit: str = "dB"

    @property
    def side(self) -> int:
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Claim:
    source: str
    text: str
    lines: tuple[Line, ...]
    task: str = ""

    @property
    def counts(self) -> tuple[int, int]:
        """Cells whose interval is on the claimed side, and on the other."""
        return sum(line.side > 0 for line in self.lines), sum(line.side < 0 for line in self.lines)

    @property
    def verdict(self) -> str:
        holds, fails = self.counts
        if 2 * holds > len(self.lines) and not fails:
            return "supported"
        return "refuted" if 2 * fails > len(self.lines) else "undecided"


def cells(rows: pd.DataFrame, *, attacked: bool = True) -> Iterator[tuple[str, pd.DataFrame]]:
    for (task, setting, eps), cell in rows.groupby(CELL):
        if (eps > 0) == attacked:
            name = f"{task}, {'σ_b' if task == 'denoise' else 'm/n'} = {setting:g}"
            yield name + (f", ε = {eps:g}" if attacked else ""), cell


def line(where: str, differences: pd.Series) -> Line:
    """The mean of a difference for each (image, training seed), with its percentile bootstrap interval."""
    values = differences.dropna().unstack("train_seed").dropna().to_numpy()
    if values.shape[1] == 1:
        (found,) = paired_differences(values.T, 1)
        return Line(where, found.mean, found.low, found.high)
    means = resampled_means(values)
    low, high = np.quantile(means[1:], (0.025, 0.975))
    return Line(where, float(means[0]), float(low), float(high))


def resampled_means(values: np.ndarray) -> np.ndarray:
    """The mean of values (images, seeds, …) in each of RESAMPLES resamples of images and of seeds; the first one: of the
    values themselves."""
    random, (n_images, n_seeds) = np.random.default_rng(SEED), values.shape[:2]
    images, seeds = (random.integers(n, size=(RESAMPLES, n)) for n in (n_images, n_seeds))
    images[0], seeds[0] = np.arange(n_images), np.arange(n_seeds)
    return values[images[:, :, None], seeds[:, None, :]].mean(axis=(1, 2))


def at_best(cell: pd.DataFrame, column: str = "psnr_median") -> pd.DataFrame:
    """Images × networks at the sigma of ``column``'s largest mean, for each network (on these images)."""
    best = cell.groupby(["network", "sigma"])["psnr_median"].mean().groupby("network").idxmax()
    chosen = pd.MultiIndex.from_tuples(best.to_list(), names=["network", "sigma"])
    return by_image(cell.set_index(["network", "sigma"]).loc[chosen].reset_index(), column)


def closest(values: pd.DataFrame, of: str, others: Sequence[str]) -> pd.Series:
    """``of`` minus the other network that has the largest mean."""
    best = values[[o for o in others if o in values]].mean().idxmax()
    return values[of] - values[best]


def beats(source: str, text: str, rows: pd.DataFrame, table: Callable[[pd.DataFrame], pd.DataFrame], of: str,
          others: Sequence[str]) -> Claim:  # fmt: skip
    return Claim(source, text, tuple(
        line(where, closest(table(cell), of, others)) for where, cell in cells(rows)))  # fmt: skip


def smoothed_minus_not(cell: pd.DataFrame, network: str) -> pd.Series:
    own = cell[cell["network"] == network]
    return at_best(own)[network] - by_image(unsmoothed(own), "psnr_attacked")[network]


def best_sigmas(cell: pd.DataFrame, network: str) -> np.ndarray:
    """The sigma (0: no smoothing) of the largest mean PSNR, in each resample. The resamples are the same for all cells
    with as many images and seeds."""
    own = cell[cell["network"] == network]
    smoothed = own.pivot_table(index=["image", "train_seed"], columns="sigma", values="psnr_median", aggfunc="mean")
    smoothed.insert(0, 0.0, by_image(unsmoothed(own), "psnr_attacked")[network])
    values = smoothed.to_numpy().reshape(-1, own["train_seed"].nunique(), smoothed.shape[1])
    return smoothed.columns.to_numpy(dtype=float)[resampled_means(values).argmax(axis=1)]


def growth(where: str, small: np.ndarray, large: np.ndarray) -> Line:
    difference = large - small
    low, high = np.quantile(difference[1:], (0.025, 0.975))
    return Line(where, float(difference[0]), float(low), float(high), "grey levels")


def sigma_grows_with_eps(rows: pd.DataFrame) -> Claim:
    found = []
    for (task, setting, network), own in rows[(rows["eps"] > 0) & rows["network"].isin(PAPERS)].groupby(
        ["task", "setting", "network"]
    ):
        small, *_, large = (best_sigmas(own[own["eps"] == eps], network) for eps in sorted(own["eps"].unique()))
        found.append(growth(f"{network}, {task}, {setting:g}", small, large))
    return Claim("4.2", "the best σ grows with ε (largest against smallest ε)", tuple(found))


def sigma_grows_with_difficulty(rows: pd.DataFrame) -> Claim:
    found = []
    for (task, eps, network), own in rows[(rows["eps"] > 0) & rows["network"].isin(PAPERS)].groupby(
        ["task", "eps256", "network"]
    ):
        settings = sorted(own["setting"].unique(), reverse=task == "cs")  # easier first
        if len(settings) > 1:
            small, *_, large = (best_sigmas(own[own["setting"] == s], network) for s in settings)
            found.append(growth(f"{network}, {task}, ε = {eps:g}", small, large))
    return Claim("4.2", "the best σ grows when the problem is harder (larger σ_b, smaller m/n)", tuple(found))


def arc(rows: pd.DataFrame) -> Claim:
    """The smaller of the rise to the best sigma and the fall after it, at the largest sigma."""
    found = []
    for where, cell in cells(rows):
        for network in (n for n in PAPERS if n in set(cell["network"])):
            own = cell[cell["network"] == network]
            best, last = (
                at_best(own)[network],
                by_image(own[own["sigma"] == own["sigma"].max()], "psnr_median")[network],
            )
            sides = (best - by_image(unsmoothed(own), "psnr_attacked")[network], best - last)
            found.append(line(f"{network}, {where}", min(sides, key=lambda s: s.mean())))
    return Claim("4.2", "PSNR over σ is an arc: it rises from σ = 0, then falls", tuple(found))


def loss_when_clean(rows: pd.DataFrame) -> Claim:
    lines = [
        line(f"{network}, {where}", values["ord"] - values[network])
        for where, cell in cells(rows, attacked=False)
        for values in (by_image(unsmoothed(cell), "psnr_clean"),)
        for network in ("adv", "smt_adv", "smt_grad")
        if network in values
    ]
    return Claim("4.2", "robust training lowers the PSNR without attack", tuple(lines))


def discrepancy_lowest(rows: pd.DataFrame) -> Claim:
    """In decibels: the other's over that of smt_grad."""

    def decibels(cell: pd.DataFrame) -> pd.DataFrame:
        return -10 * np.log10(at_best(cell, "discrepancy_certified"))

    text = "at the best σ, smt_grad has the lowest discrepancy, certified as published (no certificate for ‖ξ‖ ≤ ε)"
    return beats("4.2", text, rows, decibels, "smt_grad", [n for n in PAPERS if n != "smt_grad"])


def claims_of_tasks(rows: pd.DataFrame) -> list[Claim]:
    """A verdict for each task: what helps one may harm the other."""
    return [
        replace(claim, task=task)
        for task, own in sorted(rows.groupby("task"), reverse=True) for claim in all_claims(own) if claim.lines
    ]  # fmt: skip


def all_claims(rows: pd.DataFrame) -> list[Claim]:
    """``rows``: those of the stage ``test``."""
    own = rows[rows["network"].isin((*PAPERS, "ord_matched"))]

    def attacked(cell: pd.DataFrame) -> pd.DataFrame:
        return by_image(unsmoothed(cell), "psnr_attacked")

    def without(name: str) -> list[str]:
        return [n for n in PAPERS if n != name]

    helps = tuple(line(where, smoothed_minus_not(cell, "ord")) for where, cell in cells(own))
    own_noise = tuple(
        line(where, smoothed_minus_not(cell, name))
        for where, cell in cells(rows) for name in (f"ord{cell['setting'].iloc[0]:g}",) if name in set(cell["network"])
    )  # fmt: skip
    trained = tuple(
        line(f"{network}, {where}", closest(attacked(cell), network, BASELINES))
        for where, cell in cells(own) for network in OURS
    )  # fmt: skip
    highest = "has the highest PSNR under attack"
    matched = "smt_adv beats ord of as many network evaluations, attacked without smoothing"
    return [
        Claim("4.2, 4.3", "smoothing at the best σ raises the PSNR of ord under attack", helps),
        Claim("ours", "the same, of ord that was trained at the noise of the test", own_noise),
        arc(own), sigma_grows_with_eps(own), sigma_grows_with_difficulty(own),
        beats("4.2", f"at the best σ, smt_grad {highest}", own, at_best, "smt_grad", without("smt_grad")),
        discrepancy_lowest(own),
        beats("4.2", f"without smoothing, smt_adv {highest}", own, attacked, "smt_adv", without("smt_adv")),
        Claim("4.3", "without smoothing, smt_adv and smt_grad beat ord, jcb and adv under attack", trained),
        loss_when_clean(own),
        beats("ours", matched, own, attacked, "smt_adv", ["ord_matched"]),
    ]  # fmt: skip


__all__ = ["Claim", "Difference", "Line", "all_claims", "claims_of_tasks"]
