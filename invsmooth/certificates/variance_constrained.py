"""How far the mean of a bounded, smoothed reconstruction can move: the arithmetic of the certifier
``mean`` (SPEC 6.3).

f~ is the network clipped to a ball of radius R around a centre c, both fixed before the draws that
follow. m~(z) = E f~(A(z + delta) + b) with delta ~ N(0, sigma² I), and r = eps/sigma. For a shift v
of length r·sigma and EVERY unit vector u, <u, m~(z + v) - m~(z)> = E[h w] with h = <u, f~ - c>, w =
exp(r g - r²/2) - 1 and g = <v, delta>/(|v| sigma) ~ N(0, 1). h may be replaced by E[h | g], which
keeps |h| <= R and E h² <= mu (:func:`variance_bound`). The largest E[h w] under these constraints
has h = clip(t w, -R, R). It grows with r, so it holds for all shifts of length at most eps.

No torch. Lengths are l2 norms over one image, [0, 1] pixel scale. docs/theory.md has the proofs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr

FLOAT_SLACK = 1e-9  # Relative amount added to a computed bound: above the error of the quadrature (about 1e-13)

MU_SHARE = 0.9
"""Share of the failure probability that :func:`variance_bound` gets; :func:`mean_deviation` gets
the rest. Either depends on the logarithm of its share only."""

LEAST_RATIO = 1e-100  # Taken for smaller ratios, whose squares a float does not hold: the bounds grow with the ratio
SMALL_RATIO = 1e-6  # Below it the normal tails cancel to more than FLOAT_SLACK

EIGENVALUE_FAILURE = 1e-9
"""Part of the failure probability that the bound of the largest eigenvalue takes from the share
of :func:`variance_bound` (:func:`invsmooth.certificates.second_moment.lanczos_bound`)."""


def variance_bound(lambda_hat: float, radius: float, alpha: float, n_samples: int) -> float:
    """mu: with probability at least 1 - ``alpha``, E<u, f~ - c>² <= mu for every unit vector u.

    With u* the leading eigenvector of the population's second moment, the <u*, f~_k - c>² are
    independent, in [0, R²], with mean lambda_max and an average of at most ``lambda_hat``: the multiplicative
    Chernoff bound of the lower tail, solved for lambda_max (docs/theory.md). No dimension enters.

    Args:
        lambda_hat: largest eigenvalue of (1/S) sum (f~_k - c)(f~_k - c)^T over S independent draws,
            or anything above it. The trace in its place gives a bound of E||f~ - c||² (the same
            argument for the squared norms).
    Returns: mu, at most R² (no direction has more).
    Raises: ValueError: not 0 < ``alpha`` < 1, or another value below 0."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} is not in (0, 1)")
    if n_samples < 1 or not lambda_hat >= 0 or not radius >= 0:
        wanted = f"n_samples={n_samples} >= 1, lambda_hat={lambda_hat} >= 0 and radius={radius} >= 0"
        raise ValueError(f"{wanted} are needed")
    a = -2 * radius**2 * math.log(alpha) / n_samples
    return min(((math.sqrt(a) + math.sqrt(a + 4 * lambda_hat)) / 2) ** 2, radius**2)


def mean_deviation(radius: float, mu: float, alpha: float, n_samples: int) -> float:
    """With probability at least 1 - ``alpha`` the mean of S independent draws is this close to its
    expectation m~(z): Talagrand's inequality with Bousquet's constants (2002, theorem 2.3) for the
    supremum over the unit vectors u of sum <u, f~_k - m~>. Each summand is at most 2R with a
    variance of at most mu, the expected supremum at most R sqrt(S)."""
    expected, x = radius / math.sqrt(n_samples), -math.log(alpha)
    return expected + math.sqrt(2 * x * (mu + 4 * radius * expected) / n_samples) + 2 * radius * x / (3 * n_samples)


def shift_bound(radius: float, mu: float, ratio: float) -> float:
    """The largest ||m~(z') - m~(z)|| over ||z' - z|| <= eps, with ratio = eps/sigma: max{E[h w] :
    |h| <= R, E h² <= mu}.

    ``mu``: bound of E<u, f~ - c>² for every unit vector u; ``ratio``: inf gives the diameter 2R.
    Raises: ValueError: a negative argument."""
    check_arguments(radius, mu, ratio)
    if ratio == 0 or radius == 0 or mu == 0:
        return 0.0
    total_variation = total_variation_bound(radius, ratio)
    if mu >= radius**2 or math.isinf(ratio):
        return total_variation
    if ratio < SMALL_RATIO:
        # w = r g + v with E v² = exp(r²) - 1 - r², so E[h w] differs from r E[h g] by at most sqrt(mu) r² / 1.4.
        slope = shift_bound(radius, mu, SMALL_RATIO) / SMALL_RATIO + 1.5 * SMALL_RATIO * math.sqrt(mu)
        bound = ratio * slope
    else:
        bound = (1 + FLOAT_SLACK) * constrained_maximum(radius, mu, ratio, minus=1)
    return min(bound, total_variation, chi_square_bound(mu, ratio))


def offset_bound(radius: float, mu: float, ratio: float) -> float:
    """The largest ||m~(z') - c|| over ||z' - z|| <= eps: as :func:`shift_bound` with w + 1;
    sqrt(mu) at ratio 0."""
    check_arguments(radius, mu, ratio)
    if radius == 0 or mu == 0:
        return 0.0
    if mu >= radius**2 or math.isinf(ratio):
        return radius
    if ratio == 0:
        return math.sqrt(mu)
    ratio = max(ratio, SMALL_RATIO)
    return min((1 + FLOAT_SLACK) * constrained_maximum(radius, mu, ratio, minus=0), radius)


def chi_square_bound(mu: float, ratio: float) -> float:
    """sqrt(mu (exp(r²) - 1)), what Cauchy-Schwarz gives without the bound R; with a bound of the
    trace E||f~ - c||² in place of mu the trace form."""
    if mu == 0 or ratio > 26:  # exp(26²) is the last that a float holds
        return 0.0 if mu == 0 else math.inf
    return math.sqrt(mu) * math.sqrt(math.expm1(ratio**2))


def total_variation_bound(radius: float, ratio: float) -> float:
    """2R (2 Phi(r/2) - 1), what the bound R alone gives."""
    return 2 * radius * math.erf(ratio / math.sqrt(8))


@dataclass(frozen=True)
class Movement:
    """Upper bounds, as lengths, of how far the mean reconstruction m~ gets when the signal moves by
    at most eps.

    Attributes:
        shift, deviation: of ||m~(z') - m~(z)||, and of m~(z) to the mean m^ of the S draws.
        offset: of ||m~(z') - c||: by :func:`offset_bound`, or shift + deviation + ||c - m^||.
        chi_square, total_variation, trace: simpler bounds of ||m~(z') - m~(z)||, for comparison.
            The trace form needs its own failure probability 1 - c."""

    shift: float
    deviation: float
    offset: float
    chi_square: float
    total_variation: float
    trace: float

    def error(self, centre_error: float, mean_error: float) -> float:
        """Bound of ||m~(z') - x|| from ||c - x|| and ||m^ - x||, by the triangle through c or
        through m^ and m~(z); nan where x is not known."""
        return min(centre_error + self.offset, mean_error + self.deviation + self.shift)


def movement(
    *, lambda_hat: float, trace_hat: float, radius: float, mean_offset: float, ratio: float, confidence: float,
    n_samples: int,
) -> Movement:  # fmt: skip
    """All bounds at eps/sigma = ``ratio``. ``shift``, ``deviation`` and ``offset`` hold together
    with probability at least ``confidence``, for all ratios at once: the draws enter through mu
    (MU_SHARE of 1 - c) and through the deviation.

    Args:
        lambda_hat, trace_hat: largest eigenvalue and trace of (1/S) sum (f~_k - c)(f~_k - c)^T, or
            anything above them.
        mean_offset: ||c - m^||.
    Raises: ValueError: :func:`check_confidence`."""
    check_confidence(confidence)
    ratio, alpha = max(ratio, LEAST_RATIO) if ratio > 0 else ratio, 1 - confidence
    mu = variance_bound(lambda_hat, radius, MU_SHARE * alpha - EIGENVALUE_FAILURE, n_samples)
    shift = shift_bound(radius, mu, ratio)
    deviation = mean_deviation(radius, mu, (1 - MU_SHARE) * alpha, n_samples)
    trace = variance_bound(trace_hat, radius, alpha, n_samples)
    return Movement(
        shift, deviation, offset=min(offset_bound(radius, mu, ratio), shift + deviation + mean_offset),
        chi_square=chi_square_bound(mu, ratio), total_variation=total_variation_bound(radius, ratio),
        trace=chi_square_bound(trace, ratio),
    )  # fmt: skip


def check_confidence(confidence: float) -> None:
    """Raises ValueError: a confidence so near 1 that nothing is left beside EIGENVALUE_FAILURE."""
    if MU_SHARE * (1 - confidence) <= EIGENVALUE_FAILURE:
        raise ValueError(
            f"confidence={confidence:.12g} of each certificate is more than certifier='mean' can give: less than 1 - 1.2e-9 "
            "is needed (where it is shared out over sigma or images, give a lower one)"
        )


def check_arguments(radius: float, mu: float, ratio: float) -> None:
    for name, value in (("radius", radius), ("mu", mu), ("ratio", ratio)):
        if not value >= 0:
            raise ValueError(f"{name}={value} has to be >= 0")


def constrained_maximum(radius: float, mu: float, ratio: float, minus: int) -> float:
    """max{E[h w] : |h| <= R, E h² <= mu} for w = exp(r g - r²/2) - ``minus``, 0 < mu < R², 0 < r
    < inf: the :func:`dual` at the t with E clip(tw)² = mu. It is stationary there: an error of
    1e-8 in log t enters squared."""

    def excess(log_t: float) -> float:
        return moments(radius, log_t, ratio, minus)[0] - mu

    # Without the clip E h² = t² (exp(r²) - minus). Clipping takes from it, so t is larger: at large r by far.
    variance = ratio**2 + (math.log(-math.expm1(-(ratio**2))) if minus else 0.0)
    low = (math.log(mu) - min(variance, 4.0)) / 2 - 1e-9
    step = 1.0
    while excess(low) > 0:
        low, step = low - step, 2 * step
    high, step = low + 1e-3, 1e-2
    while excess(high) < 0:
        low, high, step = high, high + step, 4 * step
    return dual(radius, mu, ratio, minus, float(brentq(excess, low, high, xtol=1e-8)))


def dual(radius: float, mu: float, ratio: float, minus: int, log_t: float) -> float:
    """E[clip(tw) w] + (mu - E clip(tw)²)/(2t), the Lagrangian dual: an upper bound of the
    maximum for ANY t > 0, so that an error in t cannot make the bound too small."""
    second, value = moments(radius, log_t, ratio, minus)
    return value + (mu - second) * math.exp(-log_t) / 2


def moments(radius: float, log_t: float, ratio: float, minus: int) -> tuple[float, float]:
    """E clip(tw, -R, R)² and E[clip(tw, -R, R) w] for w = exp(r g - r²/2) - ``minus``.

    Where h = tw is clipped both are normal tails. In between E h² is the integral of a smooth
    function that is never negative, so that nothing cancels at small r, and h is at most R, so that
    nothing overflows at large r."""
    log_level = math.log(radius) - log_t
    upper = (float(np.logaddexp(0, log_level)) if minus else log_level) / ratio + ratio / 2
    lower = math.log(-math.expm1(log_level)) / ratio + ratio / 2 if minus and log_level < 0 else -math.inf
    middle = 0.0
    if (a := max(lower, -SPAN)) < (b := min(upper, SPAN)):
        # Gauss-Legendre quadrature in panels of at most half a standard deviation.
        edges = np.linspace(a, b, 1 + math.ceil(2 * (b - a)))
        half = np.diff(edges)[:, None] / 2
        g, weights = (edges[:-1, None] + half * (1 + NODES)).ravel(), (half * WEIGHTS).ravel()
        exponent = ratio * g - ratio**2 / 2
        h = math.exp(log_t) * np.expm1(exponent) if minus else np.exp(log_t + exponent)
        middle = float(weights @ (np.exp(-(g**2) / 2) * h**2)) / math.sqrt(2 * math.pi)
    above, below = float(ndtr(-upper)), float(ndtr(lower))
    # E[w; g > upper] and E[-w; g < lower]: the weight exp(r g - r²/2) shifts the normal density by r.
    tails = float(ndtr(ratio - upper)) - minus * above + below - float(ndtr(lower - ratio))
    return middle + radius**2 * (above + below), middle * math.exp(-log_t) + radius * tails


SPAN = 60.0  # Where the integral stops: |h| <= R, and the normal density is 1e-783 there
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
