"""Several certificates at once, and stopping early: simulated coverage against known quantiles."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2, norm

from invsmooth.certificates import (
    Center,
    bonferroni,
    certified_ratio,
    certify,
    certify_threshold,
    max_certifiable_ratio,
    min_samples,
    most_failures,
    order_statistic_index,
    shifted_quantile,
    why_impossible,
    why_none,
)
from invsmooth.certificates.confidence import decide, looks
from invsmooth.certificates.order_statistics import dkw_slack, largest_quantile
from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity

SIGMA, EPS = 0.1, [0.01 * k for k in range(12)]
EXACT = [SIGMA**2 * chi2.ppf(shifted_quantile(0.5, e, SIGMA), 1) for e in EPS]  # f(y) = y, one pixel


def misses(confidence: float, simultaneous: str, repeats: int = 3000, n_samples: int = 100) -> tuple[int, float]:
    """How many of the images have a bound below the truth at one radius or more, and the mean bound at the first."""
    y = torch.zeros(repeats, 1, 1, 1)
    found = certify(
        MatchedFilter(), Identity(), y, sigma=SIGMA, eps=EPS, n_samples=n_samples, confidence=confidence,
        simultaneous=simultaneous, chunk_size=n_samples,
    )  # fmt: skip
    return int((found.bound < torch.tensor(EXACT)).any(1).sum()), float(found.bound[:, 0].mean())


@pytest.mark.usefixtures("noise_is_made_once")
def test_coverage_over_all_radii_at_once() -> None:
    """Radius by radius the rule keeps its confidence, but not for all of them; the corrections do."""
    repeats, confidence = 3000, 0.9
    allowed = binom.isf(1e-6, repeats, 1 - confidence)
    alone, bound = misses(confidence, "none")
    assert alone > allowed
    for simultaneous in ("bonferroni", "dkw"):
        together, larger = misses(confidence, simultaneous)
        assert 0 < together <= allowed
        assert bound < larger < 3 * bound


@pytest.mark.usefixtures("noise_is_made_once")
def test_coverage_over_a_grid_of_sigma_with_common_random_numbers() -> None:
    """Picking any of four certificates of an image at different sigma, from the same noise."""
    repeats, confidence, sigmas = 3000, 0.9, (0.05, 0.1, 0.2, 0.4)
    allowed = binom.isf(1e-6, repeats, 1 - confidence)

    def failures(each: float) -> int:
        y, eps = torch.zeros(repeats, 1, 1, 1), 0.03
        bad = torch.zeros(repeats, dtype=torch.bool)
        for sigma in sigmas:
            found = certify(
                MatchedFilter(), Identity(), y, sigma=sigma, eps=eps, n_samples=60, confidence=each, chunk_size=60
            )
            bad |= found.bound < sigma**2 * chi2.ppf(shifted_quantile(0.5, eps, sigma), 1)
        return int(bad.sum())

    assert failures(confidence) > allowed
    assert failures(bonferroni(confidence, len(sigmas))) <= allowed
    assert bonferroni(0.9, 4) == pytest.approx(0.975)


def test_dkw_covers_every_rank_of_the_empirical_distribution() -> None:
    """sup over x of F_S(x) - F(x), for uniform draws: at most the slack in a share c, and not much less."""
    repeats, n_samples, confidence = 20_000, 50, 0.9
    draws = np.sort(np.random.default_rng(0).random((repeats, n_samples)), axis=1)
    above = (np.arange(1, n_samples + 1) / n_samples - draws).max(1) > dkw_slack(n_samples, confidence)
    assert 0.5 * (1 - confidence) * repeats < above.sum() <= binom.isf(1e-6, repeats, 1 - confidence)


def test_dkw_by_hand_and_its_limits() -> None:
    # sqrt(ln(100)/2000) = 0.04799: K = ceil(1000 · 0.54799)
    assert order_statistic_index(1000, 0.5, 0.99, dkw=True) == 548
    assert order_statistic_index(1000, 0.9521, 0.99, dkw=True) is None
    assert max_certifiable_ratio(1000, 0.99, dkw=True) == pytest.approx(norm.ppf(1 - 0.04799), abs=1e-4)
    n = min_samples(2.0, 0.99, dkw=True)
    q_bar = shifted_quantile(0.5, 2, 1)
    assert order_statistic_index(int(n), q_bar, 0.99, dkw=True) is not None
    assert order_statistic_index(int(n) - 1, q_bar, 0.99, dkw=True) is None
    assert "for all eps at once" in why_none(2.0, 1000, 0.99, dkw=True)
    assert f"n_samples >= {n:.0f}" in why_none(2.0, 1000, 0.99, dkw=True)
    with pytest.raises(ValueError, match=r"at least 0\.5"):
        dkw_slack(100, 0.4)


@given(st.integers(1, 80), st.data(), st.integers(500, 999))
@settings(deadline=None)
def test_largest_quantile_inverts_the_rank_rule_exactly(n_samples: int, data: st.DataObject, confidence: int) -> None:
    """P[Bin(S, p) <= k - 1] >= c holds at p and no longer a little above, in exact rational arithmetic."""
    k, c = data.draw(st.integers(1, n_samples)), Fraction(confidence, 1000)
    p = largest_quantile(k, n_samples, float(c))

    def below(p: Fraction) -> Fraction:
        return sum((math.comb(n_samples, j) * p**j * (1 - p) ** (n_samples - j) for j in range(k)), Fraction(0))

    assert below(Fraction(p * (1 - 1e-9))) >= c
    assert below(Fraction(p * (1 + 1e-9))) < c


def test_certified_ratio_is_where_the_rank_reaches_the_count() -> None:
    for n_samples, n_below, q, dkw in itertools.product((50, 400), (30, 45, 50), (0.3, 0.5), (False, True)):
        ratio = certified_ratio(n_below, n_samples, 0.99, q, dkw=dkw)
        if ratio < 0:
            at_zero = order_statistic_index(n_samples, q, 0.99, dkw=dkw)
            assert at_zero is None or at_zero > n_below
            continue
        below, above = (shifted_quantile(q, max(ratio + d, 0), 1) for d in (-1e-7, 1e-7))
        assert (order_statistic_index(n_samples, below, 0.99, dkw=dkw) or n_samples + 1) <= n_below
        assert (order_statistic_index(n_samples, above, 0.99, dkw=dkw) or n_samples + 1) > n_below
    assert certified_ratio(0, 50, 0.99) == -math.inf
    assert certified_ratio(50, 50, 0.99) == pytest.approx(max_certifiable_ratio(50, 0.99))


def test_failures_over_a_data_set() -> None:
    assert most_failures(68, 0.99) == 3
    assert binom.cdf(most_failures(68, 0.99), 68, 0.01) >= 0.99
    assert binom.cdf(most_failures(68, 0.99) - 1, 68, 0.01) < 0.99


def test_impossible_cells_by_certifier() -> None:
    assert "is above" in why_impossible("discrepancy", 2.0, 50, 0.99)
    assert "is above" in why_impossible("discrepancy", 1.3, 50, 0.99, simultaneous="bonferroni", n_radii=10)
    assert why_impossible("error", 1.3, 50, 0.99) == ""
    assert why_impossible("mean", 100.0, 50, 0.99) == ""
    assert "sigma > 0" in why_impossible("mean", math.inf, 50, 0.99)
    assert "always abstains" in why_impossible(Center(n_pred=100), 0.0, 50, 0.99)
    assert "is above" in why_impossible("center", 1.3, 50, 0.99)
    with pytest.raises(ValueError, match="'median' is none of"):
        why_impossible("median", 1.0, 50, 0.99)
    with pytest.raises(ValueError, match="'all' is none of none, bonferroni, dkw"):
        why_impossible("error", 1.0, 50, 0.99, simultaneous="all")


def test_looks_spend_less_than_the_failure_probability() -> None:
    found = list(looks(10, 1000, 0.9))
    assert [n for n, _ in found] == [10, 20, 40, 80, 160, 320, 640, 1000]
    assert sum(alpha for _, alpha in found) < 0.1
    assert found[0][1] == pytest.approx(0.05)


def answers(p: float, q_bar: float, confidence: float, repeats: int, spend: bool) -> np.ndarray:
    """What each of many runs says at the first look that decides: 1, -1, or 0 for undecided."""
    values = (np.random.default_rng(1).random((repeats, 640)) < p).cumsum(1)
    said = np.zeros(repeats, dtype=int)
    for n, alpha in looks(10, 640, confidence):
        for i in np.flatnonzero(said == 0):
            answer = decide(int(values[i, n - 1]), n, q_bar, alpha if spend else 1 - confidence)
            said[i] = {True: 1, False: -1, None: 0}[answer]
    return said


def test_stopping_early_keeps_the_confidence() -> None:
    """At the boundary, P[value <= t] just below or just at q̄, at most 1 - c of the runs say the wrong thing, at whatever
    look; testing at full level at every look says it more often."""
    repeats, q_bar, confidence = 1000, 0.8, 0.9
    allowed = binom.isf(1e-6, repeats, 1 - confidence)
    for wrong in (1, -1):
        assert (answers(q_bar, q_bar, confidence, repeats, spend=True) == wrong).sum() <= allowed
    assert (answers(q_bar, q_bar, confidence, repeats, spend=False) != 0).sum() > 2 * allowed
    assert (answers(0.95, q_bar, confidence, 300, spend=True) == 1).mean() > 0.95
    assert (answers(0.5, q_bar, confidence, 300, spend=True) == -1).mean() > 0.95


def test_deciding_with_few_draws() -> None:
    """f(y) = y, one pixel: the shifted quantile is known. Easy thresholds take few draws, one near the truth takes all."""
    y, eps = torch.zeros(20, 1, 1, 1), 0.05
    exact = SIGMA**2 * chi2.ppf(shifted_quantile(0.5, eps, SIGMA), 1)
    settings = {"sigma": SIGMA, "eps": eps, "max_samples": 2000, "confidence": 0.99}
    easy, hard, beyond = (
        certify_threshold(MatchedFilter(), Identity(), y, threshold=t * exact, **settings) for t in (9, 1.02, 0.2)
    )
    assert set(easy.below) == {True}
    assert easy.n_samples.max() <= 60
    assert set(beyond.below) == {False}
    assert beyond.n_samples.max() <= 200
    assert hard.n_samples.max() == 2000
    # True is what a certificate with those draws says, too.
    for n in set(easy.n_samples.tolist()):
        found = certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=eps, n_samples=n)
        assert (found.bound <= 9 * exact)[torch.tensor(easy.n_samples == n)].all()
    x = y + 0.01
    assert certify_threshold(MatchedFilter(), Identity(), y, threshold=9 * exact, x=x, **settings).below[0] is True
    impossible = certify_threshold(MatchedFilter(), Identity(), y, threshold=1, **settings | {"eps": 0.5})
    assert set(impossible.below) == {None}
    assert "no certificate" in impossible.reason


def test_radius_is_the_largest_certified_eps() -> None:
    y = torch.rand(5, 1, 4, 4)
    settings = {"sigma": SIGMA, "n_samples": 300, "q": 0.4}
    of_discrepancy = {"certifier": "radius", "radius_of": "discrepancy"}
    threshold = SIGMA**2 * chi2.ppf(0.8, 16) / 16
    found = certify(MatchedFilter(), Identity(), y, eps=[0.0, 5.0], threshold=threshold, **of_discrepancy, **settings)
    truth = SIGMA * (norm.ppf(0.8) - norm.ppf(0.4))
    assert (found.certified_eps < 1.1 * truth).all()
    assert (found.certified_eps > 0.6 * truth).all()
    for i, eps in enumerate(found.certified_eps.tolist()):
        values = certify(MatchedFilter(), Identity(), y, eps=[eps * (1 - 1e-7), eps * (1 + 1e-7)], **settings).bound[i]
        assert values[0] <= threshold
        assert not values[1] <= threshold
    assert (found.bound[:, 0] == torch.tensor(threshold)).all()
    assert found.bound[:, 1].isnan().all()
    low = certify(MatchedFilter(), Identity(), y, eps=[0.0], threshold=1e-9, **of_discrepancy, **settings)
    assert low.certified_eps.isnan().all()
    assert "above threshold=1e-09" in low.reason[0, 0]
    of_error = certify(
        MatchedFilter(),
        Identity(),
        y,
        eps=0.0,
        certifier="radius",
        threshold=threshold,
        radius_of="error",
        x=y,
        **settings,
    )
    torch.testing.assert_close(of_error.certified_eps, found.certified_eps)
    for change, message in (({}, "give threshold"), ({"threshold": 1, "radius_of": "error"}, "give x")):
        with pytest.raises(ValueError, match=message):
            certify(MatchedFilter(), Identity(), y, eps=0.0, certifier="radius", **settings, **change)
