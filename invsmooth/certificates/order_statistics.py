"""Percentile smoothing: which order statistic of S draws bounds the median under any shift of
length eps.

Theorem (Chiang et al. 2020, Lemma 2). Let F(z) be a number and D_q(z) the q-quantile of F(z +
delta), delta ~ N(0, sigma² I). Then D_q(z') <= D_q̄(z) with q̄ = Phi(Phi^{-1}(q) + eps/sigma) for
all ||z' - z|| <= eps. The q̄-quantile is unknown; the K-th smallest of S independent draws exceeds
it with the confidence asked for. Numbers in, numbers out: nothing here needs torch, so that a bound
can be checked again without it."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from scipy.stats import beta, binom, norm


def shifted_quantile(q: float, eps: float, sigma: float) -> float:
    """q̄ = Phi(Phi^{-1}(q) + eps/sigma): the quantile that bounds the q-quantile over a shift of
    length eps, in the unit of sigma. sigma = 0 gives 1 (q itself at eps = 0).
    Raises: ValueError: q outside (0, 1), or a negative eps or sigma."""
    return float(norm.cdf(norm.ppf(check_quantile(q)) + ratio_of(eps, sigma)))


def order_statistic_index(n_samples: int, q: float, confidence: float, *, dkw: bool = False) -> int | None:
    """The rank K (1-based) of the draw that bounds the q-quantile from above, or None where even
    the largest does not.

    K = min{k : P[Bin(S, q) <= k - 1] >= c}: of S independent draws in ascending order, X_(K) is at
    least the q-quantile with probability c or more, whatever their distribution. It is exact for
    one q. ``dkw=True`` gives K = ceil(S (q + slack)) instead, which holds for EVERY q at once with
    probability c (:func:`dkw_slack`).

    Args:
        n_samples: S >= 1.
        q: the quantile to bound, in (0, 1]; for a certificate the shifted quantile q̄.
        confidence: c in (0, 1).
    Raises: ValueError: outside these ranges."""
    check_sampling(n_samples, confidence)
    if not 0 < q <= 1:
        raise ValueError(f"q={q} is not in (0, 1]")
    if dkw:
        k = math.ceil(n_samples * (q + dkw_slack(n_samples, confidence)))
    else:
        k = int(binom.ppf(confidence, n_samples, q)) + 1
    return k if k <= n_samples else None


def dkw_slack(n_samples: int, confidence: float) -> float:
    """sqrt(ln(1/(1 - c)) / (2S)): with probability c the distribution function of S draws is
    nowhere further above the true one (Dvoretzky-Kiefer-Wolfowitz inequality, one-sided with
    Massart's constant, 1990).
    Raises: ValueError: n_samples < 1, or c outside [1/2, 1), where the constant does not hold."""
    check_sampling(n_samples, confidence)
    if confidence < 0.5:
        raise ValueError(f"confidence={confidence}: the one-sided DKW inequality needs at least 0.5")
    return math.sqrt(-math.log1p(-confidence) / (2 * n_samples))


def largest_quantile(k: int, n_samples: int, confidence: float, *, dkw: bool = False) -> float:
    """The largest quantile that the draw of rank ``k`` bounds from above: the inverse of
    :func:`order_statistic_index`.

    P[Bin(S, p) <= k - 1] = P[Beta(k, S - k + 1) >= p], so it is the (1 - c)-quantile of that beta
    distribution (the lower Clopper-Pearson limit). 0 for k = 0; with ``dkw`` it can be below 0: no
    quantile."""
    check_sampling(n_samples, confidence)
    if k == 0:
        return 0.0
    if dkw:
        return k / n_samples - dkw_slack(n_samples, confidence)
    return float(beta.isf(confidence, k, n_samples - k + 1))


def certified_ratio(n_below: int, n_samples: int, confidence: float, q: float = 0.5, *, dkw: bool = False) -> float:
    """The largest eps/sigma at which the certified value is at most t, where ``n_below`` of the S
    draws are at most t.

    Phi^{-1}(p) - Phi^{-1}(q) with p from :func:`largest_quantile`; negative (down to -inf) where t
    is not certified even at eps = 0. The same as the certified radius of Cohen et al. (2019) for
    the event "the MSE is at most t"."""
    p = largest_quantile(n_below, n_samples, confidence, dkw=dkw)
    return -math.inf if p <= 0 else float(norm.ppf(p) - norm.ppf(check_quantile(q)))


def max_certifiable_ratio(n_samples: int, confidence: float, q: float = 0.5, *, dkw: bool = False) -> float:
    """The largest eps/sigma at which S draws give a bound: Phi^{-1}((1 - c)^{1/S}) - Phi^{-1}(q).
    Negative where S draws do not even bound the q-quantile itself (eps = 0).
    Raises: ValueError: n_samples < 1, confidence or q outside (0, 1)."""
    if dkw:
        return certified_ratio(n_samples, n_samples, confidence, q, dkw=True)
    check_sampling(n_samples, confidence)
    # The general formula, with the digits kept that 1 - (1 - c)^{1/S} loses at large S.
    return float(norm.isf(-math.expm1(math.log1p(-confidence) / n_samples)) - norm.ppf(check_quantile(q)))


def min_samples(ratio: float, confidence: float, q: float = 0.5, *, dkw: bool = False) -> float:
    """The smallest S that gives a bound at eps/sigma = ``ratio``: ceil(log(1 - c) / log q̄), or
    with ``dkw`` ceil(log(1/(1 - c)) / (2 (1 - q̄)²)); inf where no float holds it."""
    shifted = norm.ppf(check_quantile(q)) + ratio
    tail, log_q_bar = float(norm.sf(shifted)), float(norm.logcdf(shifted))
    log_alpha = math.log1p(-confidence)
    if log_q_bar == 0 or tail**2 == 0:
        return math.inf
    return float(math.ceil(-log_alpha / (2 * tail**2) if dkw else log_alpha / log_q_bar))


@functools.lru_cache(2**14)  # every image asks again
def why_none(ratio: float, n_samples: int, confidence: float, q: float = 0.5, *, dkw: bool = False) -> str:
    """Why S draws give no bound at eps/sigma = ``ratio``, and what would; "" where they do."""
    largest = max_certifiable_ratio(n_samples, confidence, q, dkw=dkw)
    if not math.isinf(ratio) and order_statistic_index(n_samples, shifted_quantile(q, ratio, 1), confidence, dkw=dkw):
        return ""
    reason = (
        f"no certificate: eps/sigma = {ratio:.4g} is above {largest:.4g}, the most that {n_samples} draws certify at "
        f"confidence {confidence:g}{' for all eps at once' if dkw else ''}"
    )
    needed = min_samples(ratio, confidence, q, dkw=dkw)
    more_draws = f"n_samples >= {needed:.0f}" if needed < 1e7 else ""
    more_noise = f"sigma at least {ratio / largest:.4g} times as large" if largest > 0 and math.isfinite(ratio) else ""
    remedy = " or ".join(part for part in (more_draws, more_noise) if part)
    return f"{reason}; it needs {remedy}" if remedy else f"{reason}; it needs sigma > 0"


def is_number(eps: Any) -> bool:
    """Whether one radius is given: a number of Python's, NumPy's or torch's; else several."""
    return np.ndim(eps) == 0


def as_radii(eps: Any) -> list[float]:
    """One radius or several, as a list."""
    return [float(e) for e in ([eps] if is_number(eps) else eps)]


def ratio_of(eps: float, sigma: float) -> float:
    """eps/sigma, both >= 0 and in one unit; 0/0 counts as 0 (nothing moves) and eps/0 as inf."""
    for name, value in (("eps", eps), ("sigma", sigma)):
        if not value >= 0:
            raise ValueError(f"{name}={value} has to be >= 0")
    return eps / sigma if sigma > 0 else 0.0 if eps == 0 else math.inf


def check_quantile(q: float) -> float:
    if not 0 < q < 1:
        raise ValueError(f"q={q} is not in (0, 1)")
    return q


def check_sampling(n_samples: int, confidence: float) -> None:
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} has to be at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} is not in (0, 1); write 0.99 for 99 %")
