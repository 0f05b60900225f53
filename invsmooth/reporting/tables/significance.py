"""Whether two methods differ: differences of paired images, with bootstrap intervals of their mean.

The images are what is drawn at random, and both methods see the same ones: pairing takes the spread
between images out of the comparison. The intervals do not cover that a training with another seed
gives another network. Several seeds are averaged for each image first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from invsmooth.reporting.averages import (
    KEYS,
    SETTING,
    Averages,
    best_sigma,
    grouped,
    in_panels,
    known,
    lookup,
    soundness,
    title,
)
from invsmooth.reporting.columns import PAPER, psnr_columns
from invsmooth.reporting.methods import in_order
from invsmooth.reporting.tables.grid import MISSING, Block, Entry, Table, grey, power_of_ten

CONFIDENCE = 0.95
N_RESAMPLES = 9999
SEED = 0  # the same rows give the same report
MIN_IMAGES = 5  # with fewer images a bootstrap interval covers too seldom to be stated
BATCH = 500  # resamples at a time: memory stays small, and it is the fastest
SIDE_BY_SIDE = 3  # certified PSNR columns that fit the width of a page
PAPERS = {"psnr_attacked": "attacked PSNR", "psnr_median": "smoothed PSNR", "bound": "certified discrepancy"}
"""Quantities of the paper's tables, and their headings."""


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences over ``n`` images, its interval at CONFIDENCE, and at the
    Bonferroni level over the pairs of a column. Limits are nan where there are fewer than
    MIN_IMAGES."""

    n: int
    mean: float
    low: float
    high: float
    low_together: float
    high_together: float


def paired_differences(differences: np.ndarray, n_pairs: int) -> list[Difference]:
    """Of each line of ``differences`` (pairs × images), whose images are common to all lines.

    Percentile intervals: BCa has none where all differences are alike. All lines use the same
    resamples of the images."""
    n = differences.shape[1]
    means = differences.mean(axis=1)
    if n < MIN_IMAGES:
        return [Difference(n, float(mean), *[np.nan] * 4) for mean in means]
    kwargs: dict[str, Any] = {"axis": -1, "method": "percentile", "rng": np.random.default_rng(SEED)}
    drawn: dict[str, Any] = {"n_resamples": N_RESAMPLES, "batch": BATCH}
    found = bootstrap((differences,), np.mean, confidence_level=CONFIDENCE, **drawn, **kwargs)
    again: dict[str, Any] = {"n_resamples": 0, "bootstrap_result": found}
    together = bootstrap((differences,), np.mean, confidence_level=1 - (1 - CONFIDENCE) / n_pairs, **again, **kwargs)
    one, all_ = found.confidence_interval, together.confidence_interval
    limits = np.stack([means, one.low, one.high, all_.low, all_.high], axis=1)
    return [Difference(n, *map(float, line)) for line in limits]


def compare(values: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Difference]:
    """The pairs (a, b) that have images in common: a − b. ``values``: images × methods, or nan."""
    found: dict[tuple[str, str], Difference] = {}
    of = {method: column.to_numpy(dtype=float) for method, column in values.items()}
    images = {(a, b): tuple(~np.isnan(of[a]) & ~np.isnan(of[b])) for a, b in pairs if a in of and b in of}
    for common, group in itertools.groupby(
        sorted(images, key=lambda pair: images[pair]), key=lambda pair: images[pair]
    ):
        own = list(group)
        if any(common):
            lines = np.stack([(of[a] - of[b])[list(common)] for a, b in own])
            found |= dict(zip(own, paired_differences(lines, len(pairs)), strict=True))
    return found


def significance_table(averages: Averages) -> Table:
    certified = psnr_columns(averages.declared, averages.table["certifier"])
    certifiers = {column: certifier for certifier, column in certified.items()}
    names = PAPERS | {column: f"certified PSNR ({certifier})" for column, certifier in certifiers.items()}
    own = list(certifiers)
    groups = [list(PAPERS), *(own[k : k + SIDE_BY_SIDE] for k in range(0, len(own), SIDE_BY_SIDE))]
    blocks, keys = [], [*SETTING, "n_samples", "eps"]
    # Attacks are compared once, beside the smoothing of the setting if there is any.
    attacks = {tuple(map(known, key)): lines for key, lines in grouped(in_panels(averages.table, keys), keys)}
    for setting, lines in averages.blocks(keys):
        attacked = attacks.get(tuple(known(setting[key]) for key in keys), lines.iloc[:0])
        if setting["eps"] > 0 or not (averages.table["eps"] > 0).any():
            for quantities in groups:
                every = {q: attacked if q == "psnr_attacked" else lines for q in quantities}
                found = {q: compared(some, q, certifiers.get(q)) for q, some in every.items()}
                chosen = {names[q]: (q, some) for q, some in found.items() if len(some)}
                methods = in_order(pd.concat(every.values()), averages.declared)
                if chosen and len(methods) > 1:
                    of = "PSNR" if set(quantities) & set(certifiers) else "discrepancy"
                    heading = f"{title(setting)}: {soundness(lines, of)}"
                    blocks.append(significance_block(averages, heading, chosen, methods))
    notes = (
        f"Mean over the images of the difference, first minus second method; in brackets its {CONFIDENCE:.0%} percentile "
        f"bootstrap interval ({N_RESAMPLES} resamples of the images, scipy.stats.bootstrap, seed fixed). PSNR in dB: "
        "positive is better for the first; certified discrepancy (MSE): negative. n: images that both have.",
        f"Each interval is at {CONFIDENCE:.0%} on its own; they do not hold together. *: the interval at the Bonferroni "
        "level over the pairs of its column excludes 0, too. Seeds are averaged for each image; the intervals are over "
        "images, not over trainings.",
        f"With fewer than {MIN_IMAGES} images no interval is given; with few more it is somewhat too short. Smoothed and "
        "certified values at the σ > 0 best for all methods together, as in table1 and certified_psnr.",
        f"{MISSING}: no image has both. Rows of each number: `significance.csv`.",
    )
    return Table("significance", "Differences between methods, paired by image", notes, blocks)


def significance_block(averages: Averages, heading: str, chosen: dict[str, Any], methods: list[str]) -> Block:
    """``chosen``: for each heading the quantity, and the line of averages of each method."""
    # The later method of the tables first: smt_grad − ord is what an improvement is.
    pairs = [(b, a) for a, b in itertools.combinations(methods, 2)]
    found = []
    for quantity, own in chosen.values():
        of = averages.per_image[quantity].unstack("cell")[own.index]
        found.append(compare(of.set_axis(own["method"], axis=1), pairs))
    records = [lookup(own, ["method"]) for _, own in chosen.values()]
    shown: list[list[str | Entry]] = []
    for pair in pairs:
        differences = [of_pairs.get(pair) for of_pairs in found]
        counts = sorted({d.n for d in differences if d is not None})
        n = "–".join(str(c) for c in (counts[:1] if len(counts) < 2 else (counts[0], counts[-1]))) or MISSING
        entries = [
            difference_entry(d, q, pair, of, q in averages.decibels) if d is not None else Entry(MISSING)
            for (q, _), of, d in zip(chosen.values(), records, differences, strict=True)
        ]
        shown.append([f"{pair[0]} − {pair[1]}", n, *entries])
    at = ["σ = 0" if q == "psnr_attacked" else f"σ = {grey(own['sigma'].iloc[0])}" for q, own in chosen.values()]
    return Block(heading, ["pair", "n", *chosen], shown, [("", 2), *((sigma, 1) for sigma in at)])


def compared(lines: pd.DataFrame, quantity: str, certifier: str | None) -> pd.DataFrame:
    """The line of averages of each method that its value is taken from; none if no method has one.
    ``certifier``: of a certified PSNR; None for a quantity of the paper's tables."""
    if quantity != "psnr_attacked":
        sigma = best_sigma(lines, certifier or PAPER, quantity if certifier else "psnr_median")
        at = lines["sigma"].isna() if np.isnan(sigma) else lines["sigma"] == sigma
        lines = lines[(lines["certifier"] == (certifier or PAPER)) & at]
    own = lines[lines[f"{quantity}_n"].notna()].drop_duplicates("method")
    return own if own[quantity].notna().any() else own.iloc[:0]


def difference_entry(
    d: Difference, quantity: str, pair: tuple[str, str], of: dict[tuple[Any, ...], dict[str, Any]], decibels: bool
) -> Entry:
    """``of``: the line of averages of each method."""
    cells = [cell for (method,), cell in of.items() if method in pair]
    folders = sorted({folder for cell in cells for folder in cell["folders"].split(";")})
    keys = {key: cells[0][key] for key in KEYS if key not in ("algo", "method", "label")}
    source = {
        "quantity": quantity, "first": pair[0], "second": pair[1], "value": d.mean, "low": d.low,
        "high": d.high, "low_bonferroni": d.low_together, "high_bonferroni": d.high_together,
        "images": d.n, "rows": sum(cell["rows"] for cell in cells), **keys, "folders": ";".join(folders),
    }  # fmt: skip
    return Entry(shown_difference(d, decimals=decibels), source)


def shown_difference(d: Difference, decimals: bool) -> str:
    scale, unit = 1.0, ""
    if not decimals:
        largest = float(np.nanmax(np.abs([d.mean, d.low, d.high])))
        power = int(np.floor(np.log10(largest))) if largest > 0 else 0
        scale, unit = 10.0**power, f" × {power_of_ten(power)}" if power else ""
    number = [f"{v / scale:+.2f}".replace("-", "−") for v in (d.mean, d.low, d.high)]
    if np.isnan(d.low):
        return f"{number[0]}{unit} (no interval)"
    star = "*" if d.low_together > 0 or d.high_together < 0 else ""
    return f"{number[0]} [{number[1]}, {number[2]}]{unit}{star}"
