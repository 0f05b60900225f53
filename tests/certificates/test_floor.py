"""The floor without the clean image: how often it holds, under attacks, over calibration and new image together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom
from torch import Tensor

from invsmooth.attacks import pgd
from invsmooth.certificates.floor import calibrated, conformal_rank, psnr_floor
from invsmooth.metrics import psnr
from invsmooth.operators import Identity

ALPHA, N, TRIALS, PIXELS, EPS, SIGMA_B = 0.2, 14, 3000, 16, 0.4, 0.1  # rank 12 of 14: covers with exactly 0.8
CHANCE = 1e-5  # of a failure of one comparison where all is right


def images(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Clean images and their measurements, shape (n, 1, 4, 4). Each image has a brightness, so that errors differ."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, 1, 1, 1)) * rng.random((n, 1, 4, 4))
    y = x + SIGMA_B * rng.standard_normal(x.shape)
    return torch.from_numpy(x), torch.from_numpy(y)


def norm(difference: Tensor) -> np.ndarray:
    return difference.flatten(1).norm(dim=1).numpy()


def shrink(y: Tensor, operator: object = None) -> Tensor:
    """L = 0.7. The worst attack is known: a step of eps along the error."""
    return 0.7 * y


def threshold(y: Tensor, operator: object = None) -> Tensor:
    """Soft thresholding around 0.3: L = 1, and no closed form of the worst attack."""
    return 0.3 + torch.nn.functional.softshrink(y - 0.3, 0.05)


def calibrations(f: Callable[[Tensor], Tensor]) -> tuple[np.ndarray, Tensor, Tensor]:
    """q of TRIALS independent calibrations, and a new image (x, y) for each."""
    x, y = images(0, TRIALS * N)
    errors = norm(f(y) - x).reshape(TRIALS, N)
    return np.array([calibrated(e, ALPHA) for e in errors]), *images(1, TRIALS)


def test_holds_with_exactly_its_probability_under_the_worst_attack_of_a_linear_estimator() -> None:
    """And plain conformal prediction, q alone, does not, though it does where nothing attacks."""
    q, x, y = calibrations(shrink)
    clean = norm(shrink(y) - x)
    xi = EPS * (shrink(y) - x) / torch.from_numpy(clean).view(-1, 1, 1, 1)
    attacked = norm(shrink(y + xi) - x)
    np.testing.assert_allclose(attacked, clean + 0.7 * EPS, rtol=1e-12)
    low, high = binom.ppf([CHANCE, 1 - CHANCE], TRIALS, 1 - ALPHA)
    assert low <= np.sum(clean <= q) <= high
    assert low <= np.sum(attacked <= q + 0.7 * EPS) <= high
    assert np.mean(attacked <= q) < 0.3
    assert np.sum(attacked <= q + 0.6 * EPS) < low  # a constant that is too small by a seventh is seen


def test_holds_under_pgd_where_plain_conformal_prediction_does_not() -> None:
    q, x, y = calibrations(threshold)
    xi = pgd(threshold, Identity(), x, y - x, eps=EPS, n_iter=15).xi  # type: ignore[arg-type]
    attacked = norm(threshold(y + xi) - x)
    assert binom.ppf(CHANCE, TRIALS, 1 - ALPHA) <= np.sum(attacked <= q + EPS)
    assert np.mean(attacked <= q) < 0.3
    floors = np.array([psnr_floor(each, 1.0, EPS, 0.0, PIXELS) for each in q])
    shown = psnr(threshold(y + xi), x).numpy()
    assert binom.ppf(CHANCE, TRIALS, 1 - ALPHA) <= np.sum(shown >= floors)
    plain = np.array([psnr_floor(each, 1.0, 0.0, 0.0, PIXELS) for each in q])
    assert np.mean(shown >= plain) < 0.5


def test_of_one_calibration_the_coverage_has_its_beta_distribution() -> None:
    """Given the calibration images, q covers as an order statistic of uniform numbers does: Beta(k, n + 1 - k)."""
    rng, k = np.random.default_rng(3), conformal_rank(N, ALPHA)
    assert k == 12
    coverage = np.array([calibrated(rng.random(N), ALPHA) for _ in range(4000)])
    found = np.sort(beta.cdf(coverage, k, N + 1 - k))
    uniform = (np.arange(4000) + 0.5) / 4000
    assert np.abs(found - uniform).max() < 0.035  # Kolmogorov: exceeded with a probability below 1e-4


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(9, 0.1, 9), (8, 0.1, None), (19, 0.05, 19), (18, 0.05, None), (99, 0.1, 90), (100, 0.1, 91), (9, 0.7, 3),
     (0, 0.5, None), (1, 0.5, 1), (4, 0.9, 1), (9, 1 - 0.9, 9), (29, 0.3, 21), (998, 0.001, None), (999, 0.001, 999)],
)  # fmt: skip
def test_rank(n: int, alpha: float, rank: int | None) -> None:
    """Exact, though (1 - 0.7) · 10 > 3 and 1 - 0.9 < 0.1 in floating point."""
    assert conformal_rank(n, alpha) == rank
    errors = np.random.default_rng(n).permutation(n) + 1.0
    assert calibrated(errors.tolist(), alpha) == rank  # the k-th smallest of 1, …, n is k


def test_ties_and_infinite_errors() -> None:
    assert calibrated([2.0, 1.0, 2.0, 2.0], 0.5) == 2.0
    assert calibrated([1.0] * 9, 0.1) == 1.0
    assert calibrated([1.0] * 9 + [math.inf], 0.2) == 1.0
    assert calibrated([1.0] * 8 + [math.inf], 0.1) == math.inf
    assert psnr_floor(math.inf, 1.0, 1.0, 0.0, 16) == -math.inf


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_alpha_outside_its_range(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha="):
        calibrated([1.0] * 50, alpha)


@pytest.mark.parametrize("error", [-1.0, math.nan])
def test_an_error_norm_that_is_none(error: float) -> None:
    with pytest.raises(ValueError, match="error norms"):
        calibrated([1.0] * 50 + [error], 0.1)


def test_floor_in_numbers() -> None:
    """e + L eps + 2 rho = 8 on 256×256: a root mean square error of 1/32, 30.10 dB."""
    assert psnr_floor(4.0, 1.5, 2.0, 0.5, 256 * 256) == pytest.approx(20 * math.log10(32), rel=1e-12)
    assert psnr_floor(0.0, 1.0, 0.0, 0.0, 16) == math.inf


@pytest.mark.parametrize(
    "wrong", [{"error": -1.0}, {"constant": math.nan}, {"eps": -1.0}, {"rho": -0.1}, {"n_pixels": 0}]
)
def test_bad_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        psnr_floor(**{"error": 1.0, "constant": 1.0, "eps": 1.0, "rho": 0.0, "n_pixels": 16} | wrong)  # type: ignore[arg-type]
