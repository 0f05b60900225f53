from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, chi2, ncx2, norm
from torch import Tensor

from invsmooth.certificates import certify, draw_buffer, order_statistic_index, shifted_quantile
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import DPDNN, ISTANetPP, MatchedFilter, Ridge
from invsmooth.estimators.premises import EVALUATIONS
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity
from tests.certificates.together import certify_all, certify_any

SIGMA = 0.1


@pytest.mark.parametrize("case", ["identity", "matched filter", "ridge"])
def test_linear_estimator_against_the_exact_chi_square_quantile(case: str) -> None:
    """For f linear with orthonormal rows, l(f(y + A delta), f(y)) is (gain · sigma)² chi²_d / n: d = n or m."""
    estimator, operator, freedom, gain = {
        "identity": (MatchedFilter(), Identity(), 64, 1.0),
        "matched filter": (MatchedFilter(), BlockGaussian(0.5, block=8), 32, 1.0),
        "ridge": (Ridge(0.25), BlockGaussian(0.5, block=8), 32, 0.8),
    }[case]
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    eps = [0.0, 0.05, 0.1, 0.2]
    found = certify(estimator, operator, operator.A(x), sigma=SIGMA, eps=eps, n_samples=1000)
    scale = (gain * SIGMA) ** 2 / 64
    assert found.median.mean() == pytest.approx(scale * chi2.median(freedom), rel=0.01)
    for j, e in enumerate(eps):
        exact = scale * chi2.ppf(shifted_quantile(0.5, e, SIGMA), freedom)
        # Rank K stands for the quantile K/(S+1), a little above q-bar.
        at_rank = scale * chi2.ppf(found.k_index[0, j] / 1001, freedom)
        assert found.bound[:, j].mean() == pytest.approx(at_rank, rel=0.01)
        assert exact < found.bound[:, j].mean() < exact * 1.1
        # P[miss] <= 0.01 for each of 40 images: more than 3 misses have a probability below 1e-3.
        assert (found.bound[:, j] < exact).sum() <= 3


@pytest.mark.parametrize("certifier", ["discrepancy", "error"])
def test_coverage(certifier: str) -> None:
    """Of 4000 independent certificates at c = 0.9 at most a share 0.1 misses the true quantile (binomial tolerance 1e-4).
    The rank below K would not do: the rule is not just safe, it is the smallest that is."""
    confidence, n_samples, eps, repeats = 0.9, 30, 0.08, 4000
    x = torch.full((repeats, 1, 2, 2), 0.5)
    b = 0.05 * torch.ones_like(x)
    found = certify(
        MatchedFilter(), Identity(), x + b, sigma=SIGMA, eps=eps, n_samples=n_samples, confidence=confidence,
        certifier=certifier, x=x, chunk_size=n_samples,
    )  # fmt: skip
    q_bar = shifted_quantile(0.5, eps, SIGMA)
    scale = SIGMA**2 / 4
    # error: ||delta + b||² is non-central chi-square.
    truth = scale * (chi2.ppf(q_bar, 4) if certifier == "discrepancy" else ncx2.ppf(q_bar, 4, 4 * 0.05**2 / SIGMA**2))
    misses = int((found.bound < truth).sum())
    assert misses <= binom.isf(1e-4, repeats, 1 - confidence)
    k = found.k_index[0]
    assert misses == pytest.approx(repeats * binom.sf(k - 1, n_samples, q_bar), abs=4 * math.sqrt(repeats * 0.1))
    assert binom.sf(k - 2, n_samples, q_bar) > 1 - confidence


def test_certified_value_holds_at_the_worst_shift() -> None:
    """For a linear estimator the median MSE at z' is known: no z' within eps may exceed the bound."""
    operator, n_samples, eps = Identity(), 500, 0.2
    y = torch.rand(1, 1, 4, 4)
    bound = float(certify(MatchedFilter(), operator, y, sigma=SIGMA, eps=eps, n_samples=n_samples).bound[0])
    worst_median = SIGMA**2 / 16 * ncx2.median(16, (eps / SIGMA) ** 2)
    assert worst_median < bound


def hat(y: Tensor, operator: object) -> Tensor:
    """Three ReLUs: a hat of height 1 and width 1e-3 around 1."""
    half = 5e-4
    return ((y - 1 + half).relu() - 2 * (y - 1).relu() + (y - 1 - half).relu()) / half


def test_counterexample_to_the_papers_corollary() -> None:
    """SPEC section 6: with a reference that moves with the attack the published statement is false; with a fixed one it
    holds. One pixel, A = 1, b = 0, sigma = eps = 1."""
    observed = torch.zeros(1, 1, 1, 1)
    bound = float(certify(hat, Identity(), observed, sigma=1.0, eps=1.0, n_samples=1000).bound[0])
    shifted = observed + 1
    delta = smoothing_noise((1, 1, 1), 0, 4001, seed=7)
    outputs = hat(shifted + delta, None)
    fixed = mse(outputs, hat(observed, None)).median()
    moving = mse(outputs, hat(shifted, None)).median()
    assert bound == 0
    assert fixed <= bound
    assert moving == 1  # the paper's D_0.5(x, xi), which its Corollary 3.2 claims to be at most the bound


@pytest.mark.parametrize("chunk_size", [1, 7, 16, 1000])
def test_chunks_do_not_change_the_result(chunk_size: int) -> None:
    net, operator = ISTANetPP(2, 4), BlockGaussian(0.5, block=8)
    y = operator.A(torch.rand(2, 1, 20, 20, generator=torch.Generator().manual_seed(0)))
    arguments = {"sigma": SIGMA, "eps": [0.0, 0.1], "n_samples": 37, "confidence": 0.9}
    whole = certify(net, operator, y, **arguments, chunk_size=37)
    chunked = certify(net, operator, y, **arguments, chunk_size=chunk_size)
    torch.testing.assert_close(chunked.bound, whole.bound, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(chunked.reconstruction_certified, whole.reconstruction_certified, rtol=1e-3, atol=1e-5)


def test_draws_depend_on_the_image_key_and_not_on_the_batch() -> None:
    net, operator = DPDNN(1, 4), Identity()
    y = torch.rand(3, 1, 16, 16)
    arguments = {"sigma": SIGMA, "eps": 0.05, "n_samples": 20, "confidence": 0.9}
    together = certify(net, operator, y, **arguments, image_keys=["a", "b", "c"])
    alone = certify(net, operator, y[2:], **arguments, image_keys=["c"])
    torch.testing.assert_close(together.bound[2:], alone.bound, rtol=1e-4, atol=1e-8)
    other_seed = certify(net, operator, y[2:], **arguments, image_keys=["c"], seed=1)
    assert not torch.allclose(other_seed.bound, alone.bound, rtol=1e-4)


def test_one_set_of_draws_serves_all_radii() -> None:
    net, operator = DPDNN(1, 4), Identity()
    y, eps = torch.rand(2, 1, 16, 16), [0.0, 0.05, 0.1, 0.3]
    calls = 0

    def counting(y: Tensor, operator: object) -> Tensor:
        nonlocal calls
        calls += len(y)
        return net(y, operator)

    grid = certify(counting, operator, y, sigma=SIGMA, eps=eps, n_samples=40)
    assert calls == 2 * grid.network_evals + EVALUATIONS
    assert grid.network_evals == 1 + 40  # the reference and the draws
    for j, e in enumerate(eps):
        single = certify(net, operator, y, sigma=SIGMA, eps=e, n_samples=40)
        torch.testing.assert_close(grid.bound[:, j], single.bound, equal_nan=True, rtol=1e-4, atol=1e-8)
        assert list(grid.k_index[:, j]) == list(single.k_index)
    assert (grid.bound[:, :3].diff(dim=1) >= 0).all()


def test_certifiers_share_one_set_of_draws() -> None:
    net, operator, x = DPDNN(1, 4), Identity(), torch.rand(2, 1, 16, 16)
    y = x + 0.05 * torch.randn(x.shape)
    settings = {"sigma": SIGMA, "n_samples": 40, "confidence": 0.9, "q": 0.5, "x": x, "seed": 3}
    both = certify_all(net, operator, y, eps=[0.05], certifiers=("discrepancy", "error"), **settings)
    for certifier, found in both.items():
        alone = certify(net, operator, y, eps=0.05, certifier=certifier, **settings)
        torch.testing.assert_close(found.at(0).bound, alone.bound, rtol=1e-5, atol=0)
        assert found.network_evals == 41


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_mean_shares_its_draws(in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All certificates are those that each certifier gives alone; together they cost what the mean does."""
    net, operator, x = DPDNN(1, 4), Identity(), torch.rand(2, 1, 16, 16)
    if not in_memory:
        monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", 0)
    calls = 0

    def counting(y: Tensor, operator: object) -> Tensor:
        nonlocal calls
        calls += len(y)
        return net(y, operator)

    settings = {
        "sigma": SIGMA,
        "eps": [0.0, 0.05],
        "n_samples": 40,
        "confidence": 0.9,
        "x": x,
        "threshold": 0.1,
        "seed": 3,
    }
    certifiers = ("discrepancy", "error", "radius", "mean")
    found = certify_all(counting, operator, x, certifiers=certifiers, n_centre=30, **settings)
    together = calls
    assert together == 2 * (1 + 30 + 40) + EVALUATIONS
    for certifier in certifiers:
        alone = certify_any(net, operator, x, certifier=certifier, n_centre=30, **settings)
        for name in ("bound", "median", "draws", "reconstruction_median"):
            ours, theirs = getattr(found[certifier], name), getattr(alone, name)
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-8, equal_nan=True)


def test_reconstructions_are_the_draws_of_their_rank() -> None:
    net, operator = ISTANetPP(2, 4), BlockGaussian(0.5, block=8)
    y = operator.A(torch.rand(2, 1, 16, 16))
    found = certify(net, operator, y, sigma=SIGMA, eps=[0.05, 5.0], n_samples=50)
    reference = net(y, operator).detach()
    torch.testing.assert_close(
        mse(found.reconstruction_median[:, 0], reference), found.median[:, 0], rtol=1e-4, atol=1e-9
    )
    torch.testing.assert_close(
        mse(found.reconstruction_certified[:, 0], reference), found.bound[:, 0], rtol=1e-4, atol=1e-9
    )
    assert found.k_index[0, 1] is None
    assert found.bound[:, 1].isnan().all()
    assert found.reconstruction_certified[:, 1].isnan().all()
    assert "no certificate" in found.reason[1, 1]
    assert (found.reason[0, 0], found.sound) == ("", True)


def test_more_draws_bring_the_bound_closer_on_average() -> None:
    y = torch.rand(200, 1, 2, 2)
    eps = [0.0, 0.05, 0.1]
    bounds = [
        certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=eps, n_samples=n, chunk_size=n).bound.mean(0)
        for n in (50, 200, 800)
    ]
    exact = torch.tensor([SIGMA**2 / 4 * chi2.ppf(shifted_quantile(0.5, e, SIGMA), 4) for e in eps])
    assert (bounds[0] > bounds[1]).all()
    assert (bounds[1] > bounds[2]).all()
    assert (bounds[2] > exact).all()


def test_kept_or_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the memory the draws that are shown are made again, each once, and nothing else changes."""
    net, x = DPDNN(1, 4), torch.rand(2, 1, 16, 16)
    settings = {
        "sigma": SIGMA,
        "eps": [0.0, 0.05, 0.1],
        "n_samples": 40,
        "certifiers": ("discrepancy", "error"),
        "x": x,
    }
    kept = certify_all(net, Identity(), x, **settings)
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", 0)
    again = certify_all(net, Identity(), x, **settings)
    for certifier, found in kept.items():
        other = again[certifier]
        assert torch.equal(found.bound, other.bound)
        for name in ("reconstruction_median", "reconstruction_certified"):
            torch.testing.assert_close(getattr(other, name), getattr(found, name), rtol=1e-4, atol=1e-6)
        assert (found.network_evals, other.network_evals) == (41, 41 + len({20, *found.k_index[0]}))


def test_a_reconstruction_that_is_not_finite_is_an_error() -> None:
    y = torch.zeros(1, 1, 2, 2)
    with pytest.raises(FloatingPointError, match="not finite"):
        certify(lambda y, operator: y.log(), Identity(), y + 0.01, sigma=1.0, eps=0.1, n_samples=50)


def test_median_is_rank_half_rounded_up() -> None:
    y = torch.rand(1, 1, 4, 4)
    for n_samples in (9, 10):
        found = certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=0.0, n_samples=n_samples, confidence=0.9)
        draws = smoothing_noise((1, 4, 4), 0, n_samples, 0, 0) * SIGMA
        ranked = np.sort(draws.square().flatten(1).mean(1).numpy())
        assert float(found.median[0]) == pytest.approx(ranked[4], rel=1e-4)


def test_shapes_for_one_radius_and_for_several() -> None:
    y = torch.rand(3, 1, 4, 4)
    one = certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=0.1, n_samples=10)
    several = certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=(0.1,), n_samples=10)
    assert (one.bound.shape, several.bound.shape) == ((3,), (3, 1))
    assert (one.k_index.shape, several.reason.shape) == ((3,), (3, 1))
    assert (one.reconstruction_median.shape, several.reconstruction_certified.shape) == ((3, 1, 4, 4), (3, 1, 1, 4, 4))


def test_without_noise_nothing_but_radius_zero_is_certified() -> None:
    y = torch.rand(1, 1, 4, 4)
    found = certify(MatchedFilter(), Identity(), y, sigma=0.0, eps=[0.0, 0.1], n_samples=50)
    assert found.bound[0, 0] == 0
    assert found.bound[0, 1].isnan()
    assert "needs sigma > 0" in found.reason[0, 1]


def test_leaves_the_estimator_as_it_was_and_makes_no_graph() -> None:
    net = DPDNN(1, 4).train()
    found = certify(net, Identity(), torch.rand(1, 1, 16, 16), sigma=SIGMA, eps=0.1, n_samples=10)
    assert net.training
    assert not found.median.requires_grad


def test_noise_of_a_draw_is_the_same_in_any_range() -> None:
    whole = smoothing_noise((1, 3, 3), 0, 50, 5, "image")
    assert torch.equal(smoothing_noise((1, 3, 3), 13, 31, 5, "image"), whole[13:31])
    assert not torch.equal(smoothing_noise((1, 3, 3), 0, 50, 5, "other"), whole)
    many = smoothing_noise((1, 30, 30), 0, 200, 5, "image")
    assert float(many.mean()) == pytest.approx(0, abs=0.01)
    assert float(many.std()) == pytest.approx(1, abs=0.01)
    assert abs(np.corrcoef(many.flatten(1).numpy()) - np.eye(200)).max() < norm.isf(1e-7) / 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": -1}, "sigma=-1"),
        ({"eps": -1}, "eps=-1"),
        ({"n_samples": 0}, "n_samples=0"),
        ({"confidence": 1.0}, "confidence=1.0"),
        ({"q": 0}, "q=0"),
        ({"certifier": "median"}, "'median' is none of discrepancy, error"),
        ({"certifier": "error"}, "give x"),
        ({"chunk_size": 0}, "chunk_size=0"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    arguments = {"sigma": SIGMA, "eps": 0.1, "n_samples": 10}
    with pytest.raises(ValueError, match=message):
        certify(MatchedFilter(), Identity(), torch.rand(1, 1, 4, 4), **arguments | change)


def test_quantiles_are_of_each_image_and_not_of_averages() -> None:
    """ERRATA 5: averaging the discrepancies over images before ranking shrinks their spread by the root of the number of
    images. The bounds of a batch are those of its images."""
    y = torch.rand(30, 1, 2, 2)
    found = certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=0.1, n_samples=100)
    draws = torch.stack([SIGMA * smoothing_noise((1, 2, 2), 0, 100, 0, i) for i in range(30)])
    ranked = draws.square().flatten(2).mean(2).sort(dim=1).values
    torch.testing.assert_close(found.bound, ranked[:, found.k_index[0] - 1])
    of_averages = draws.square().flatten(2).mean(2).mean(0).sort().values[found.k_index[0] - 1]
    assert found.bound.mean() > 1.5 * of_averages


def test_other_quantiles() -> None:
    y = torch.rand(1, 1, 8, 8)
    found = certify(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=0.05, n_samples=400, q=0.8)
    q_bar = norm.cdf(norm.ppf(0.8) + 0.5)
    assert found.k_index[0] == order_statistic_index(400, q_bar, 0.99)
    assert found.bound[0] > SIGMA**2 / 64 * chi2.ppf(q_bar, 64)
