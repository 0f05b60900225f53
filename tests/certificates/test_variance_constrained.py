"""The bounds of the mean against linear programming, closed forms, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, eye, hstack, kron, vstack
from scipy.stats import binom, norm

from invsmooth.certificates.variance_constrained import (
    chi_square_bound,
    constrained_maximum,
    dual,
    mean_deviation,
    movement,
    offset_bound,
    shift_bound,
    total_variation_bound,
    variance_bound,
)

RATIOS = st.floats(1e-4, 10)
SHARES = st.floats(1e-6, 0.999)  # mu / R²


def linear_programme(radius: float, mu: float, ratio: float, minus: int, cells: int = 240) -> float:
    """max E[h w] over functions h that are constant on the cells of a partition of the line, |h| <= R, E h² <= mu.

    w is the exact likelihood ratio of a cell, so the value is a lower bound of the maximum that tightens with the
    cells. h² is replaced by the largest of its tangents, which makes it a linear programme and the value a little larger.
    """
    edges = np.concatenate([[-np.inf], np.linspace(-6, 7.5, cells - 1), [np.inf]])
    p = np.diff(norm.cdf(edges))
    w = np.diff(norm.cdf(edges - ratio)) / p - minus
    points = np.concatenate([np.geomspace(1e-3, 1, 40), -np.geomspace(1e-3, 1, 40), [0]]) * radius
    tangents = hstack([kron(csr_matrix(2 * points[:, None]), eye(cells)), kron(-np.ones((len(points), 1)), eye(cells))])
    second = csr_matrix(np.concatenate([np.zeros(cells), p])[None])
    limits = np.concatenate([np.repeat(points**2, cells), [mu]])
    bounds = [(-radius, radius)] * cells + [(0, None)] * cells
    solved = linprog(np.concatenate([-p * w, np.zeros(cells)]), vstack([tangents, second]), limits, bounds=bounds)
    return -float(solved.fun)


@pytest.mark.parametrize(("mu", "ratio"), [(0.02, 0.3), (0.02, 1.0), (0.1, 2.0), (0.5, 1.0), (0.02, 4.0)])
def test_neyman_pearson_against_linear_programming(mu: float, ratio: float) -> None:
    assert shift_bound(1.0, mu, ratio) == pytest.approx(linear_programme(1.0, mu, ratio, 1), rel=0.01)
    assert offset_bound(1.0, mu, ratio) == pytest.approx(linear_programme(1.0, mu, ratio, 0), rel=0.01)


@given(RATIOS, SHARES, st.floats(1e-3, 100))
@settings(max_examples=60, deadline=None)
def test_order_growth_and_scale(ratio: float, share: float, radius: float) -> None:
    mu = share * radius**2
    bound, offset = shift_bound(radius, mu, ratio), offset_bound(radius, mu, ratio)
    assert bound <= chi_square_bound(mu, ratio)
    assert bound <= total_variation_bound(radius, ratio)
    assert offset <= radius
    assert offset <= math.sqrt(mu) + bound + 1e-8 * radius  # |E[h (w + 1)]| <= |E h| + |E[h w]|
    assert bound <= shift_bound(radius, mu, 1.01 * ratio) * (1 + 1e-8)
    assert bound <= shift_bound(radius, 1.01 * mu, ratio) * (1 + 1e-8)
    assert bound <= shift_bound(1.01 * radius, mu, ratio) * (1 + 1e-8)
    assert bound == pytest.approx(radius * shift_bound(1, share, ratio), rel=1e-7)


@given(st.floats(1e-3, 5), st.floats(1e-3, 0.9), st.floats(-3, 3), st.integers(0, 1))
def test_no_error_in_t_makes_the_bound_too_small(ratio: float, mu: float, log_t: float, minus: int) -> None:
    assert dual(1.0, mu, ratio, minus, log_t) >= constrained_maximum(1.0, mu, ratio, minus) * (1 - 1e-9)


def test_limits() -> None:
    # For small steps R does not bind: Cauchy-Schwarz is sharp, and sqrt(exp(r²) - 1) -> r.
    for ratio in (1e-4, 1e-3, 1e-2):
        assert shift_bound(100.0, 1.0, ratio) == pytest.approx(ratio, rel=1e-4)
        assert shift_bound(100.0, 1.0, ratio) >= ratio
    # Where the variance does not bind, total variation is sharp.
    assert shift_bound(2.0, 4.0, 1.0) == pytest.approx(4 * (2 * norm.cdf(0.5) - 1), rel=1e-12)
    # Far away the two densities do not overlap: R there, sqrt(mu) here.
    assert shift_bound(1.0, 0.04, 50.0) == pytest.approx(1.2, rel=1e-6)
    assert offset_bound(1.0, 0.04, 50.0) == pytest.approx(1.0)
    assert shift_bound(1.0, 0.04, math.inf) == 2
    assert (shift_bound(1.0, 0.04, 0), offset_bound(1.0, 0.04, 0)) == (0, 0.2)
    assert (shift_bound(1.0, 0, 1.0), shift_bound(0.0, 1.0, 1.0), offset_bound(0.0, 0.0, 1.0)) == (0, 0, 0)
    for name in ("radius", "mu", "ratio"):
        with pytest.raises(ValueError, match=f"{name}=-1"):
            shift_bound(**{"radius": 1, "mu": 1, "ratio": 1} | {name: -1})


def test_attained_by_a_function_of_the_first_coordinate() -> None:
    """The bound is sharp: h = clip(t w) is a bounded function whose mean moves by just that much. t found by hand."""
    ratio, t, g = 1.3, 0.2, np.linspace(-12, 14, 400_001)
    density, w = norm.pdf(g), np.expm1(ratio * g - ratio**2 / 2)
    h = np.clip(t * w, -1, 1)
    mu, moved = np.trapezoid(h**2 * density, g), np.trapezoid(h * (norm.pdf(g - ratio) - density), g)
    assert shift_bound(1.0, mu, ratio) == pytest.approx(moved, rel=1e-6)


def rare_directions(repeats: int, n_samples: int, p: np.ndarray, seed: int = 0) -> np.ndarray:
    """Counts of how often each of the unit vectors e_j is drawn: the second moment is diag(p), |v| = R = 1."""
    return np.random.default_rng(seed).multinomial(n_samples, p, size=repeats)


@pytest.mark.parametrize("p_first", [0.03, 0.1, 0.5])
def test_variance_bound_covers(p_first: float) -> None:
    """mu is above the population's largest eigenvalue in a share >= 1 - alpha; the sample's largest eigenvalue is not."""
    alpha, n_samples, repeats = 0.1, 60, 4000
    p = np.array([p_first, *[(1 - p_first) / 40] * 40])
    lambda_hat = rare_directions(repeats, n_samples, p).max(1) / n_samples
    mu = np.array([variance_bound(v, 1.0, alpha, n_samples) for v in lambda_hat])
    allowed = binom.isf(1e-6, repeats, alpha)
    assert (mu < p.max()).sum() <= allowed
    if p_first == 0.5:
        assert (lambda_hat < p.max()).sum() > allowed
        assert mu.mean() < 1.6 * p.max()


def test_variance_bound_solves_the_chernoff_equation() -> None:
    """At lambda_max = mu the probability bound exp(-S d² mu / (2R²)), d = 1 - lambda_hat/mu, is alpha. SPEC's numbers."""
    radius, alpha, n_samples = math.sqrt(39.4), 0.01, 3000
    mu = variance_bound(0.38, radius, alpha, n_samples)
    assert math.exp(-n_samples * (1 - 0.38 / mu) ** 2 * mu / (2 * radius**2)) == pytest.approx(alpha)
    assert mu == pytest.approx(0.66, abs=0.005)
    assert variance_bound(0.40, radius, alpha, 1000) == pytest.approx(1.00, abs=0.005)
    assert variance_bound(30.0, 5.0, alpha, 10) == 25.0
    for arguments in ((-1, 1, 0.1, 5), (1, -1, 0.1, 5), (1, 1, 0, 5), (1, 1, 1, 5), (1, 1, 0.1, 0)):
        with pytest.raises(ValueError, match=r"alpha|n_samples"):
            variance_bound(*arguments)


def test_measured_bounds_of_the_published_network() -> None:
    """NUMBERS: R² = 39.4, mu = 0.66 at S = 3000."""
    measured = {0.1: 0.082, 0.5: 0.434, 1: 1.035, 2: 3.07, 3: 5.27}
    for ratio, bound in measured.items():
        assert shift_bound(math.sqrt(39.4), 0.6632, ratio) == pytest.approx(bound, rel=0.01)
    assert chi_square_bound(0.6632, 2) == pytest.approx(5.96, rel=0.01)
    assert chi_square_bound(0.6632, 3) == pytest.approx(73, rel=0.01)


def test_mean_deviation_covers() -> None:
    alpha, n_samples, repeats, p = 0.1, 80, 4000, np.full(20, 0.05)
    deviation = np.linalg.norm(rare_directions(repeats, n_samples, p) / n_samples - p, axis=1)
    bound = mean_deviation(1.0, 0.05, alpha, n_samples)
    assert (deviation > bound).sum() <= binom.isf(1e-6, repeats, alpha)
    # By hand, for R = 2, mu = 0.5, S = 100, alpha = exp(-3).
    assert mean_deviation(2.0, 0.5, math.exp(-3), 100) == pytest.approx(0.2 + math.sqrt(6 * 2.1 / 100) + 12 / 300)


@pytest.mark.parametrize("ratio", [5e-324, 1e-298, 1e-162, 1e-100, 1e-30])
def test_ratios_next_to_nothing_have_bounds(ratio: float) -> None:
    """The shift is sqrt(mu) times the ratio there, and never 0."""
    found = movement(
        lambda_hat=0.4, trace_hat=26, radius=6.28, mean_offset=0.2, ratio=ratio, confidence=0.99, n_samples=3000
    )
    mu = variance_bound(0.4, 6.28, 0.009, 3000)
    assert found.shift == pytest.approx(math.sqrt(mu) * max(ratio, 1e-100), rel=1e-6)
    assert found.shift <= found.chi_square * (1 + 1e-9)


def test_movement_splits_the_failure_probability() -> None:
    found = movement(
        lambda_hat=0.4, trace_hat=26, radius=6.28, mean_offset=0.2, ratio=0.01, confidence=0.99, n_samples=3000
    )
    mu = variance_bound(0.4, 6.28, 0.009 - 1e-9, 3000)
    assert found.shift == pytest.approx(shift_bound(6.28, mu, 0.01), rel=1e-12)
    assert found.deviation == pytest.approx(mean_deviation(6.28, mu, 0.001, 3000))
    # Near the observation the route through the mean of the draws is the shorter one, far away the direct one.
    assert found.offset == pytest.approx(found.shift + found.deviation + 0.2)
    far = movement(lambda_hat=0.4, trace_hat=26, radius=6.28, mean_offset=0.2, ratio=2, confidence=0.99, n_samples=3000)
    assert far.offset == pytest.approx(offset_bound(6.28, mu, 2), rel=1e-12)
    assert far.trace == pytest.approx(chi_square_bound(variance_bound(26, 6.28, 0.01, 3000), 2))
    with pytest.raises(ValueError, match=r"confidence=0.9999999999 of each certificate is more"):
        movement(lambda_hat=0.4, trace_hat=26, radius=6.28, mean_offset=0.2, ratio=2, confidence=1 - 1e-10, n_samples=9)


@pytest.mark.parametrize("ratio", [1e-7, 1e-8, 1e-10, 1e-14, 1e-16, 1e-29, 1e-100])
def test_bounds_at_tiny_ratios_are_not_too_small(ratio: float) -> None:
    """The shift grows in proportion to a small ratio. The slope is from a ratio where nothing cancels."""
    slope = shift_bound(0.6, 0.092, 1e-4) / 1e-4
    assert slope * ratio * (1 - 1e-7) <= shift_bound(0.6, 0.092, ratio) <= slope * ratio * (1 + 1e-5)
    assert offset_bound(0.6, 0.092, ratio) >= math.sqrt(0.092) * (1 - 1e-12)
