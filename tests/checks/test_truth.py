from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from invsmooth.attacks.targets import attack_draws
from invsmooth.checks.mean_lower_bound import mean_lower_bound
from invsmooth.checks.truth import check_seed, interval_ranks
from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity
from tests.attacks.oracles import Linear, certificate_noise
from tests.checks.cases import check_error, check_mean


def at_most(k: int, n: int, q: Fraction) -> Fraction:
    """P[Bin(n, q) <= k], exactly."""
    return sum((comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k + 1)), Fraction(0))


@pytest.mark.parametrize("n", [1, 7, 12, 40, 64])
@pytest.mark.parametrize("q", [Fraction(1, 2), Fraction(9, 10)])
@pytest.mark.parametrize("confidence", [0.9, 0.999])
def test_ranks_against_exact_rationals(n: int, q: Fraction, confidence: float) -> None:
    side = Fraction(str(confidence))
    side = (1 - side) / 2
    low = max((k for k in range(1, n + 1) if at_most(k - 1, n, q) <= side), default=None)
    high = min((k for k in range(1, n + 1) if at_most(k - 1, n, q) >= 1 - side), default=None)
    assert interval_ranks(n, float(q), confidence) == (low, high)


@pytest.mark.parametrize("discrete", [False, True])
def test_interval_covers_as_often_as_it_says(discrete: bool) -> None:
    repeats, n, q, confidence = 20000, 30, 0.5, 0.95
    low, high = interval_ranks(n, q, confidence)
    assert low is not None
    assert high is not None
    draws = np.sort(np.random.default_rng(0).uniform(size=(repeats, n)), axis=1)
    if discrete:  # values 0, 1, 2, 3 with the median at 1
        draws, truth = np.floor(4 * draws), 1.0
    else:
        truth = q
    for misses in (np.mean(draws[:, low - 1] > truth), np.mean(draws[:, high - 1] < truth)):
        assert misses <= 0.025 + 4 * (0.025 / repeats) ** 0.5


def test_error_under_an_attack_against_the_non_central_chi_square() -> None:
    """f(y) = y, A = I: n l / sigma² is non-central chi-square with n degrees and ||b + xi||² / sigma²."""
    n, sigma = 36, 0.4
    generator = torch.Generator().manual_seed(0)
    x, b, xi = (scale * torch.randn(2, 1, 6, 6, generator=generator) for scale in (1, 0.1, 0.3))
    for q in (0.5, 0.9):
        found = check_error(
            MatchedFilter(), Identity(), x, b, xi, certified=torch.tensor([0.0, torch.nan]), sigma=sigma, n_samples=4000,
            q=q, seed=5,
        )  # fmt: skip
        centre = (b + xi).flatten(1).square().sum(1).double().numpy() / sigma**2
        truth = torch.tensor(sigma**2 / n * stats.ncx2(n, centre).ppf(q))
        assert (found.lower <= truth).all()
        assert (found.upper >= truth).all()
        assert ((found.upper - found.lower) < 0.15 * truth).all()
        torch.testing.assert_close(found.estimate.double(), truth, rtol=0.04, atol=0)
        assert found.violated.tolist() == [True, False]  # where nothing is certified, nothing is refuted


def test_reference_and_verdict(problem: Linear) -> None:
    xi, other = 0.1 * torch.randn(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    options = {"sigma": 0.1, "n_samples": 40, "confidence": 0.95, "image_keys": ["a", "b", "c"]}
    setting = problem.estimator, problem.operator, problem.x, problem.b, xi
    first = check_error(*setting, certified=torch.zeros(3), reference=other, **options)
    noise = 0.1 * certificate_noise((1, 8, 8), 40, check_seed(0), ["a", "b", "c"])
    draws = [problem.reconstruct(problem.x + xi + n, problem.b) - other for n in noise.unbind(1)]
    losses = torch.stack([d.square().flatten(1).mean(1) for d in draws], 1).sort(1).values
    low, high = interval_ranks(40, 0.5, 0.95)
    torch.testing.assert_close(first.lower, losses[:, low - 1], rtol=1e-4, atol=0)
    torch.testing.assert_close(first.upper, losses[:, high - 1], rtol=1e-4, atol=0)
    torch.testing.assert_close(first.estimate, losses[:, 19], rtol=1e-4, atol=0)
    certified = first.lower * torch.tensor([0.999, 1.001, torch.nan])
    again = check_error(*setting, certified=certified, reference=other, chunk_size=7, **options)
    assert again.violated.tolist() == [True, False, False]
    torch.testing.assert_close(again.lower, first.lower, rtol=1e-4, atol=0)


def test_few_draws_have_no_limits_and_refute_nothing(problem: Linear) -> None:
    found = check_error(
        problem.estimator, problem.operator, problem.x, problem.b, 0 * problem.x, certified=torch.zeros(3), sigma=0.1,
        n_samples=3,
    )  # fmt: skip
    assert (found.lower == -torch.inf).all()
    assert (found.upper == torch.inf).all()
    assert not found.violated.any()


def test_draws_are_fresh() -> None:
    """Other than a certificate's and an attack's with the same seed."""
    x, key = torch.rand(1, 1, 4, 4), ["a"]
    checks = certificate_noise((1, 4, 4), 16, check_seed(3), key)
    for used in (certificate_noise((1, 4, 4), 16, 3, key), attack_draws(x, 16, False, 3, key)()):
        assert not torch.isin(checks, used).any()


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_bound_of_a_mean_fails_no_more_often_than_it_may(p: float) -> None:
    """Skewed two-point draws, where an interval of normal theory fails: P[bound > mean] <= 0.1."""
    generator = np.random.default_rng(1)
    draws = torch.tensor(generator.uniform(size=(4000, 60)) < p, dtype=torch.float64) - 0.5
    bound = mean_lower_bound(
        draws, lowest=torch.full((4000,), -0.5), variance=torch.full((4000,), 0.25), confidence=0.9
    )
    assert float((bound > p - 0.5).double().mean()) <= 0.1 + 4 * (0.1 * 0.9 / 4000) ** 0.5
    assert (bound >= -0.5).all()


@pytest.mark.parametrize("guess", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("deviation", [0.1, 1.0])
def test_bound_of_a_mean_is_tight(guess: float, deviation: float) -> None:
    """About sqrt(2 s² log(1/alpha) / n) below the sample mean, for a bad guess at the variance, too."""
    draws = torch.randn(50, 5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-3, 3)
    bound = mean_lower_bound(
        deviation * draws + 0.3, lowest=torch.full((50,), 0.3 - 3 * deviation), variance=torch.full((50,), guess),
        confidence=0.999,
    )  # fmt: skip
    ideal = deviation * (2 * np.log(1000) / 5000) ** 0.5
    assert (bound < 0.3 + ideal).all()
    assert float((0.3 - bound).mean()) < 1.5 * ideal


def test_limit_of_a_mean_allows_for_the_worst_that_it_may_not_have_seen() -> None:
    """D = -2R with probability 0.02, else 0.2R: ||d|| = 0.156 R. Most samples show no -2R; a limit of normal theory, or one
    that takes too small a range, is above the truth then."""
    rare = float(stats.norm.isf(0.02))

    def jump(y: torch.Tensor, operator: object) -> torch.Tensor:
        moved = y > 500
        seldom = torch.where(moved, y - 1000, y) > rare
        far = torch.where(moved, -1.0, 1.0)
        return torch.where(seldom, far, -0.1 * far)

    x = torch.zeros(400, 1, 1, 1)
    found = check_mean(
        jump, Identity(), x, None, x + 1000, certified=torch.full((400,), 0.156), centre=x, radius=torch.ones(400),
        sigma=1.0, n_samples=60, confidence=0.9,
    )  # fmt: skip
    assert float(found.estimate.square().mean()) == pytest.approx(0.156**2, rel=0.1)
    assert float(found.violated.double().mean()) <= 0.05 + 3 * (0.05 / 400) ** 0.5


def test_mean_of_a_linear_estimator_moves_by_what_the_attack_moves_it(problem: Linear) -> None:
    """m(x + xi) - m(x) = J xi whatever the noise, where nothing is clipped."""
    xi = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    moved = problem.reconstruct(xi).flatten(1).norm(dim=1).double()
    certified = moved * torch.tensor([0.5, 1.01, torch.nan])
    found = check_mean(
        problem.estimator, problem.operator, problem.x, problem.b, xi, certified=certified,
        centre=problem.reconstruct(problem.x, problem.b), radius=torch.full((3,), 20.0), sigma=0.05, n_samples=400,
        image_keys=["a", "b", "c"],
    )  # fmt: skip
    torch.testing.assert_close(found.estimate, moved, rtol=1e-3, atol=0)
    assert (found.lower <= moved * (1 + 1e-5)).all()
    assert found.violated.tolist() == [True, False, False]
    assert found.network_evals == 800


def one_pixel(z: float, centre: float, radius: float, sigma: float) -> float:
    """E f~(z + delta) for f(y) = y: the mean of a normal number clipped to [centre - radius, centre + radius]."""
    low, high = centre - radius, centre + radius
    inside = quad(lambda t: t * stats.norm.pdf(t, z, sigma), low, high)[0]
    return float(inside + low * stats.norm.cdf(low, z, sigma) + high * stats.norm.sf(high, z, sigma))


@pytest.mark.parametrize("chunk_size", [None, 999])
def test_mean_of_the_clipped_network_in_closed_form(chunk_size: int | None) -> None:
    sigma, radius, centre = 0.5, 0.6, 0.1
    x, xi = torch.tensor([0.2, -0.3]).view(2, 1, 1, 1), torch.tensor([0.4, -0.5]).view(2, 1, 1, 1)
    found = check_mean(
        MatchedFilter(), Identity(), x, None, xi, certified=torch.zeros(2), centre=torch.full((2, 1, 1, 1), centre),
        radius=torch.full((2,), radius), sigma=sigma, n_samples=20000, seed=1, chunk_size=chunk_size,
    )  # fmt: skip
    for i, (z, moved) in enumerate(((0.2, 0.6), (-0.3, -0.8))):
        truth = abs(one_pixel(moved, centre, radius, sigma) - one_pixel(z, centre, radius, sigma))
        assert float(found.estimate[i]) == pytest.approx(truth, abs=0.01)
        assert truth - 0.03 < float(found.lower[i]) <= truth


def test_estimate_of_a_shift_that_is_zero_is_not_biased_upwards() -> None:
    """||mean of D||² alone would be the trace of the covariance over S."""
    x = torch.zeros(200, 1, 1, 1)

    def parity(y: torch.Tensor, operator: object) -> torch.Tensor:
        return (y * 50).sin()

    found = check_mean(
        parity, Identity(), x, None, x + 0.5, certified=torch.full((200,), 1e-9), centre=x, radius=torch.ones(200),
        sigma=1.0, n_samples=100, image_keys=list(range(200)),
    )  # fmt: skip
    spread = 1.0  # E D² for two unrelated phases of a sine
    assert float(found.estimate.square().mean()) < 0.8 * spread / 100
    assert not found.violated.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples=0"),
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"q": 0.0}, "q=0.0"),
        ({"image_keys": ["a", "b"]}, "2 image_keys for 1 images"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    x = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match=message):
        check_error(MatchedFilter(), Identity(), x, None, x, **{"certified": x[0, 0, 0, :1], "sigma": 1.0, "n_samples": 9}
                    | options)  # fmt: skip


def test_too_few_draws_for_a_mean() -> None:
    x = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match="n_samples=3 has to be at least 4"):
        check_mean(MatchedFilter(), Identity(), x, None, x, certified=torch.zeros(1), centre=x, radius=torch.ones(1),
                   sigma=1.0, n_samples=3)  # fmt: skip
