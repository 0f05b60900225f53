"""Confidence of several certificates together, and of certificates that stop drawing early. No
torch. One of confidence c fails (its bound is below the truth) with probability at most 1 - c.

- Picked from a grid of n (the best sigma, say), or read off together: :func:`bonferroni`.
- All radii and quantiles of one set of draws: the DKW band
  (:func:`invsmooth.certificates.order_statistic_index`).
- Over a data set the expected share that fails is at most 1 - c; :func:`most_failures` bounds their
  number.
- Looked at repeatedly while drawing: :func:`looks` and :func:`decide`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from scipy.stats import binom

from invsmooth.certificates.order_statistics import check_sampling

SIMULTANEOUS = ("none", "bonferroni", "dkw")
"""Over the radii: each on its own; all those given; all there are (and all quantiles)."""


def bonferroni(confidence: float, n: int) -> float:
    """The confidence 1 - (1 - c)/n that each of n certificates needs so that all hold together
    with confidence c, however they depend on each other."""
    check_sampling(n, confidence)
    return 1 - (1 - confidence) / n


def union(confidences: Sequence[float]) -> float:
    """A lower bound of the confidence that several certificates all hold, however they depend on
    each other: 1 minus the sum of the failure probabilities, at least 0."""
    return max(0.0, 1 - sum(1 - c for c in confidences))


def most_failures(n_certificates: int, confidence: float, level: float = 0.99) -> int:
    """With probability at least ``level`` no more than this many of n certificates with INDEPENDENT
    draws fail: those of the images of a data set, but not the radii and the sigmas of one image."""
    check_sampling(n_certificates, confidence)
    check_sampling(1, level)
    return int(binom.ppf(level, n_certificates, 1 - confidence))


def looks(first: int, max_samples: int, confidence: float) -> Iterator[tuple[int, float]]:
    """When to look, and the failure probability spent there: S = first, 2 first, 4 first, … and
    last max_samples, with (1 - c)/(j (j + 1)) at the j-th look.

    These sum to less than 1 - c over any number of looks, so that whatever is concluded at
    whichever look one stops is wrong with probability at most 1 - c (union bound)."""
    check_sampling(first, confidence)
    for j in count(1):
        n_samples = min(2 ** (j - 1) * first, max_samples)
        yield n_samples, (1 - confidence) / (j * (j + 1))
        if n_samples >= max_samples:
            return


def decide(n_below: int, n_samples: int, q_bar: float, alpha: float) -> bool | None:
    """Whether the q̄-quantile is at most t, where ``n_below`` of S independent draws are: True
    (P[value <= t] >= q̄), False (it is below q̄), or None (undecided). Two exact binomial tests, of
    which each errs with probability <= alpha."""
    if binom.sf(n_below - 1, n_samples, q_bar) <= alpha:
        return True
    return False if binom.cdf(n_below, n_samples, q_bar) <= alpha else None
