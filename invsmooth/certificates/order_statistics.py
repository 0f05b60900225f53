"""Percentile smoothing: which order statistic of S draws bounds the median under any shift of length eps.

Theorem (Chiang et al. 2020, Lemma 2). Let F(z) be a number and D_q(z) the q-quantile of F(z + delta),
delta ~ N(0, sigma² I). Then D_q(z') <= D_q̄(z) with q̄ = Phi(Phi^{-1}(q) + eps/sigma) for all ||z' - z|| <= eps.
The q̄-quantile is unknown; the K-th smallest of S independent draws exceeds it with the confidence asked for.
"""

from __future__ import annotations

import math

from scipy.stats import binom, norm


def shifted_quantile(q: float, eps: float, sigma: float) -> float:
    """q̄ = Phi(Phi^{-1}(q) + eps/sigma): the quantile that bounds the q-quantile over a shift of length eps.

    Args:
        q: quantile in (0, 1).
        eps, sigma: radius >= 0 and standard deviation >= 0, in the same unit. sigma = 0 gives 1 (q itself at eps = 0).
    Raises:
        ValueError: outside these ranges.
    """
    return float(norm.cdf(norm.ppf(check_quantile(q)) + ratio_of(eps, sigma)))


def order_statistic_index(n_samples: int, q: float, confidence: float) -> int | None:
    """The rank K (1-based) of the draw that bounds the q-quantile from above, or None where even the largest does not.

    K = min{k : P[Bin(S, q) <= k - 1] >= c}: of S independent draws in ascending order, X_(K) is at least the
    q-quantile with probability c or more, whatever their distribution.

    Args:
        n_samples: S >= 1.
        q: the quantile to bound, in (0, 1]; for a certificate the shifted quantile q̄.
        confidence: c in (0, 1).
    Raises:
        ValueError: outside these ranges.
    """
    check_sampling(n_samples, confidence)
    if not 0 < q <= 1:
        raise ValueError(f"q={q} is not in (0, 1]")
    k = int(binom.ppf(confidence, n_samples, q)) + 1
    return k if k <= n_samples else None


def max_certifiable_ratio(n_samples: int, confidence: float, q: float = 0.5) -> float:
    """The largest eps/sigma at which S draws give a bound: Phi^{-1}((1 - c)^{1/S}) - Phi^{-1}(q).

    Negative where S draws do not even bound the q-quantile itself (eps = 0).
    Raises: ValueError: n_samples < 1, confidence or q outside (0, 1).
    """
    check_sampling(n_samples, confidence)
    return float(norm.isf(-math.expm1(math.log1p(-confidence) / n_samples)) - norm.ppf(check_quantile(q)))


def min_samples(ratio: float, confidence: float, q: float = 0.5) -> float:
    """The smallest S that gives a bound at eps/sigma = ``ratio``: ceil(log(1 - c) / log q̄); inf where no float holds it."""
    log_q_bar = float(norm.logcdf(norm.ppf(check_quantile(q)) + ratio))
    return math.inf if log_q_bar == 0 else float(math.ceil(math.log1p(-confidence) / log_q_bar))


def why_none(ratio: float, n_samples: int, confidence: float, q: float = 0.5) -> str:
    """Why S draws give no bound at eps/sigma = ``ratio``, and what would; "" where they do."""
    largest = max_certifiable_ratio(n_samples, confidence, q)
    if not math.isinf(ratio) and order_statistic_index(n_samples, shifted_quantile(q, ratio, 1), confidence):
        return ""
    reason = (
        f"no certificate: eps/sigma = {ratio:.4g} is above {largest:.4g}, the most that {n_samples} draws certify at "
        f"confidence {confidence:g}"
    )
    needed = min_samples(ratio, confidence, q)
    more_draws = f"n_samples >= {needed:.0f}" if needed < 1e7 else ""
    more_noise = f"sigma at least {ratio / largest:.4g} times as large" if largest > 0 and math.isfinite(ratio) else ""
    remedy = " or ".join(part for part in (more_draws, more_noise) if part)
    return f"{reason}; it needs {remedy}" if remedy else f"{reason}; it needs sigma > 0"


def ratio_of(eps: float, sigma: float) -> float:
    """eps/sigma, both >= 0 and in one unit; 0/0 counts as 0 (nothing moves) and eps/0 as inf."""
    if not eps >= 0:
        raise ValueError(f"eps={eps} has to be >= 0")
    if not sigma >= 0:
        raise ValueError(f"sigma={sigma} has to be >= 0")
    if sigma == 0:
        return 0.0 if eps == 0 else math.inf
    return eps / sigma


def check_quantile(q: float) -> float:
    if not 0 < q < 1:
        raise ValueError(f"q={q} is not in (0, 1)")
    return q


def check_sampling(n_samples: int, confidence: float) -> None:
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} has to be at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not in (0, 1); write 0.99 for 99 %")
