"""The certifier ``center`` against closed forms and by comparing centres found at two signals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, ncx2, norm
from torch import Tensor

from invsmooth.certificates import CenterCertificate, certify, order_statistic_index
from invsmooth.certificates.center_smoothing import (
    DELTA,
    center_index,
    default_n_pred,
    hoeffding_slack,
    split_alpha,
    why_abstained,
    why_no_center,
)
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import DPDNN, MatchedFilter
from invsmooth.operators import Identity
from tests.certificates.nets import ReluNet

SIGMA = 0.1
QUICK = {"sigma": SIGMA, "confidence": 0.8, "n_pred": 2400}


def certify_center(*arguments: object, **options: object) -> CenterCertificate:
    found = certify(*arguments, certifier="center", **options)  # type: ignore[arg-type]
    assert isinstance(found, CenterCertificate)
    return found


def test_thresholds_by_hand() -> None:
    assert split_alpha(0.99) == (pytest.approx(0.005), pytest.approx(0.005))
    assert hoeffding_slack(10_000, 0.99) == pytest.approx(math.sqrt(math.log(400) / 20_000))
    assert default_n_pred(0.99) == 4794
    assert "needs n_pred >= 1199" in why_no_center(0, 10_000, 0.99, 1198)
    assert why_no_center(0, 10_000, 0.99, 1199) == ""
    assert hoeffding_slack(1199, 0.99) <= DELTA < hoeffding_slack(1198, 0.99)
    # Delta_2 = 1/2 - share + 0.0173 <= 0.05
    assert why_abstained(0.4674, 10_000, 0.99) == ""
    assert "abstained" in why_abstained(0.4672, 10_000, 0.99)


def test_rank_is_the_binomial_rule_at_the_shifted_quantile() -> None:
    q_bar = norm.cdf(norm.ppf(0.55) + 1)
    assert center_index(1000, 1.0, 0.99) == order_statistic_index(1000, q_bar, 0.995)
    assert center_index(50, 2.0, 0.99) is None
    assert "n_samples >=" in why_no_center(2.0, 50, 0.99)
    assert center_index(50, math.inf, 0.99) is None
    assert (center_index(1000, 1.0, 0.99, dkw=True) or 1001) > (center_index(1000, 1.0, 0.99) or 0)


def test_certified_distance_is_three_times_the_ball() -> None:
    """f(y) = y: the distance of a draw to the centre w is sigma times a non-central chi variable; X_(K) is just above its
    shifted quantile."""
    y = torch.rand(1, 1, 2, 2)
    found = certify_center(MatchedFilter(), Identity(), y, eps=[0.0, 0.05, 0.1], n_samples=20_000, seed=1, **QUICK)
    offset = float((found.shown - y).square().sum()) / SIGMA**2
    for j, ratio in enumerate((0.0, 0.5, 1.0)):
        exact = 9 * SIGMA**2 / 4 * ncx2.ppf(norm.cdf(norm.ppf(0.55) + ratio), 4, offset)
        assert exact < float(found.bound[0, j]) < 1.1 * exact
    # The centre is within its 3 R-hat of the truth, which is y, and is a draw, one in the middle of the others.
    assert float((found.shown - y).square().mean()) <= float(found.bound[0, 0])
    draws = y + SIGMA * smoothing_noise((1, 2, 2), 0, 256, 1, 0)
    assert (draws - found.shown).flatten(1).norm(dim=1).min() < 1e-6
    distance_to_mode = (draws - y).flatten(1).norm(dim=1)
    assert float((found.shown - y).norm()) <= float(distance_to_mode.quantile(0.1))
    assert found.network_evals == 1 + 2 * 2400 + 20_000


def test_coverage_of_the_radius() -> None:
    """R-hat is below the shifted quantile of the distances around its centre in a share of at most alpha_2."""
    repeats, confidence = 400, 0.5
    y = torch.zeros(repeats, 1, 1, 1)
    found = certify_center(
        MatchedFilter(), Identity(), y, sigma=SIGMA, eps=0.08, n_samples=40, confidence=confidence, n_pred=800
    )
    assert (found.bound.isnan() == found.abstained).all()
    # One pixel, centre w: P[|delta - w| <= R].
    w, r = found.shown.flatten().double().numpy() / SIGMA, (found.bound.double() / 9).sqrt().numpy() / SIGMA
    inside = norm.cdf(w + r) - norm.cdf(w - r)
    answered = ~np.isnan(r)
    misses = (inside[answered] < norm.cdf(norm.ppf(0.5 + DELTA) + 0.8)).sum()
    assert answered.sum() > 0.4 * repeats
    assert misses <= binom.isf(1e-6, answered.sum(), split_alpha(confidence)[1])
    assert misses > 0


@pytest.mark.usefixtures("noise_is_made_once")
def test_coverage_over_eps_and_sigma_together() -> None:
    """With one set of distances for all radii (dkw), and draws that are common over sigma."""
    repeats, confidence, eps, failed = 300, 0.5, [0.0, 0.04, 0.08], []
    y, answers = torch.zeros(repeats, 1, 1, 1), np.zeros(repeats, dtype=bool)
    for sigma in (0.1, 0.2):
        found = certify_center(MatchedFilter(), Identity(), y, sigma=sigma, eps=eps, n_samples=60, confidence=confidence,
                               n_pred=800, simultaneous="dkw")  # fmt: skip
        w, r = found.shown.double().view(-1, 1).numpy() / sigma, (found.bound / 9).sqrt().numpy() / sigma
        inside = norm.cdf(w + r) - norm.cdf(w - r)
        failed.append(
            (inside < norm.cdf(norm.ppf(0.5 + DELTA) + np.array(eps) / sigma)).any(1)
        )  # False where there is none
        answered = (~np.isnan(r)).any(1).sum()
        assert answered > repeats / 2
        assert failed[-1].sum() <= binom.isf(1e-6, answered, split_alpha(confidence)[1])
        answers = answers | (~np.isnan(r)).any(1)
    assert (failed[0] | failed[1]).sum() <= binom.isf(1e-6, answers.sum(), 2 * split_alpha(confidence)[1])


def test_centres_at_two_signals_are_within_the_bound() -> None:
    """The statement itself: the same procedure at z' within eps, with fresh draws, ends at most 3 R-hat away."""
    net, eps = ReluNet(64), 0.1
    y = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = certify_center(net, Identity(), y, eps=eps, n_samples=200, **QUICK)
    for seed in (1, 2):
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
        shifted = y + eps * direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        there = certify_center(net, Identity(), shifted, eps=eps, n_samples=50, seed=seed, **QUICK)
        apart = (there.shown - found.shown).square().flatten(1).mean(1)
        answered = ~(found.abstained | there.abstained)
        assert answered.sum() >= 5
        assert (apart <= found.bound)[answered].all()


def test_abstains_where_no_small_ball_holds_half() -> None:
    """Two clusters with half of the draws each, all over the place within: the ball of the least median distance holds
    just half of the first sample, and a fresh one shows it or not. With few draws it always abstains."""
    y = torch.rand(3, 1, 4, 4)
    too_few = certify_center(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=[0.0, 0.1], n_samples=100, n_pred=200)
    assert too_few.bound.isnan().all()
    assert "always abstains" in too_few.reason[0, 0]
    assert too_few.abstained.all()
    assert too_few.k_index[0, 0] is None
    assert too_few.shown.isnan().all()
    few_draws = certify_center(MatchedFilter(), Identity(), y, eps=[0.0, 0.4], n_samples=100, **QUICK)
    assert few_draws.bound[:, 0].isfinite().all()
    assert few_draws.bound[:, 1].isnan().all()
    assert "no certificate" in few_draws.reason[0, 1]


def clusters(y: Tensor, operator: object) -> Tensor:
    """0, 1 or 2 with probability 0.2, 0.6 and 0.2 at y = 0: the centre is 1."""
    return (y > SIGMA * norm.ppf(0.2)).to(y) + (y > SIGMA * norm.ppf(0.8)).to(y)


def test_too_few_draws_to_choose_from_give_no_bound() -> None:
    """Delta_1 alone is above Delta: whatever the share in the ball, nothing is certified."""
    y = torch.rand(6, 1, 2, 2)
    found = certify_center(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=[0.0, 0.05], n_samples=200, n_pred=1000)
    assert found.bound.isnan().all()
    assert found.abstained.all()
    assert found.shown.isnan().all()
    assert "too few" in why_abstained(0.9, 1000, 0.99)
    assert why_abstained(0.9, 1199, 0.99) == ""


def test_centre_is_where_most_draws_are() -> None:
    found = certify_center(clusters, Identity(), torch.zeros(2, 1, 1, 1), eps=[0.0, 0.1], n_samples=3000, **QUICK)
    assert (found.shown == 1).all()
    assert (found.bound[:, 0] == 0).all()
    assert (found.bound[:, 1] == 9).all()
    assert (found.share_in_ball - 0.6).abs().max() < 0.05


def test_chunks_do_not_change_the_result() -> None:
    net, y = DPDNN(1, 4), torch.rand(1, 1, 8, 8)
    settings = {"sigma": SIGMA, "eps": [0.05], "n_samples": 100, "n_pred": 500, "confidence": 0.8}
    one, other = (certify_center(net, Identity(), y, **settings, chunk_size=size) for size in (500, 33))
    torch.testing.assert_close(one.shown, other.shown, rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(one.bound, other.bound, rtol=1e-3, atol=0, equal_nan=True)


def test_without_noise() -> None:
    y = torch.rand(1, 1, 4, 4)
    found = certify_center(MatchedFilter(), Identity(), y, sigma=0.0, eps=[0.0, 0.1], n_samples=50)
    assert found.bound[0, 0] == 0
    assert found.bound[0, 1].isnan()
    torch.testing.assert_close(found.shown, y)
