"""The certifier ``mean`` against estimators whose smoothed mean is known in closed form, and on the published network."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binom, norm
from torch import Tensor

from invsmooth.certificates import MeanCertificate, certify
from invsmooth.certificates.variance_constrained import MU_SHARE, variance_bound
from invsmooth.estimators import DPDNN, MatchedFilter, Ridge, load_checkpoint
from invsmooth.operators import BlockGaussian, Identity

SIGMA = 0.1


def certify_mean(*arguments: object, **options: object) -> MeanCertificate:
    found = certify(*arguments, certifier="mean", **options)  # type: ignore[arg-type]
    assert isinstance(found, MeanCertificate)
    return found


def length(mse: Tensor, n: int) -> Tensor:
    return (mse * n).sqrt()


@pytest.mark.parametrize("case", ["identity", "ridge", "matched filter"])
def test_linear_estimator_moves_by_its_gain_times_eps(case: str) -> None:
    """m~ is linear, ||m~(z + v) - m~(z)|| <= ||B A|| eps, and the bound comes close as eps/sigma -> 0 with many draws."""
    estimator, operator, gain = {
        "identity": (MatchedFilter(), Identity(), 1.0),
        "ridge": (Ridge(0.25), Identity(), 0.8),
        "matched filter": (MatchedFilter(), BlockGaussian(0.5, block=2), 1.0),
    }[case]
    y = operator.A(torch.rand(1, 1, 2, 2))
    eps = [0.001, 0.05]
    few, many = (
        certify_mean(estimator, operator, y, sigma=SIGMA, eps=eps, n_samples=s, chunk_size=5000)
        for s in (1000, 100_000)
    )
    assert (length(many.bound[0], 4) >= gain * torch.tensor(eps)).all()
    assert float(length(many.bound[0, 0], 4)) <= 1.05 * gain * eps[0]
    assert many.bound[0, 0] < few.bound[0, 0]
    assert few.bound[0, 0] < 2 * many.bound[0, 0]
    assert float(many.lambda_hat[0]) == pytest.approx((gain * SIGMA) ** 2, rel=0.03)


def test_simpler_forms_are_larger_and_all_grow() -> None:
    net = DPDNN(1, 4)
    eps = [0.0, 0.01, 0.1, 0.2, 0.3, 1.0]
    x = torch.rand(2, 1, 16, 16)
    found = certify_mean(net, Identity(), x, sigma=SIGMA, eps=eps, n_samples=300, x=x)
    for larger in (found.chi_square, found.total_variation):
        assert (found.bound <= larger * (1 + 1e-9)).all()
    assert (found.chi_square <= found.trace).all()
    for values in (found.bound, found.bound_to_shown, found.certified_error):
        assert (values.diff(dim=1) >= 0).all()
        assert values.isfinite().all()
    assert (found.bound[:, 0] == 0).all()
    assert (length(found.bound_to_shown, 256) <= found.radius[:, None]).all()
    assert found.network_evals == 1 + 300 + 300
    assert found.k_index[0, 0] is None
    assert found.reason[0, -1] == ""


def step(y: Tensor, operator: object) -> Tensor:
    """1 where the pixel is above 0.15, else 0: a rare, large event at y = 0."""
    return (y > 0.15).to(y)


def test_coverage_where_one_draw_in_fifteen_decides() -> None:
    """f = 1{y > 0.15}, y = 0, sigma = 0.1: everything is known in closed form. Of 1000 certificates with few draws at most a
    share 0.1 fails: the bound of the population's lambda_max, of the shift, of the distance to c, and of the error."""
    confidence, n_samples, repeats, eps = 0.9, 40, 1000, 0.05
    y, x = torch.zeros(repeats, 1, 1, 1), torch.full((repeats, 1, 1, 1), -0.3)
    found = certify_mean(
        step, Identity(), y, sigma=SIGMA, eps=eps, n_samples=n_samples, n_centre=40, confidence=confidence, x=x
    )
    c, radius = found.shown.flatten().double().numpy(), found.radius.numpy()
    high, low = np.minimum(1 - c, radius), -np.minimum(c, radius)
    here, there = norm.sf(0.15 / SIGMA), norm.sf((0.15 - eps) / SIGMA)
    lambda_max = here * high**2 + (1 - here) * low**2
    alpha = MU_SHARE * (1 - confidence)
    mu = [variance_bound(float(v), r, alpha, n_samples) for v, r in zip(found.lambda_hat, radius, strict=True)]
    moved = c + there * high + (1 - there) * low
    allowed = binom.isf(1e-6, repeats, 1 - confidence)
    assert (mu < lambda_max).sum() <= binom.isf(1e-6, repeats, alpha)
    assert (length(found.bound, 1).numpy() < (high - low) * (there - here)).sum() <= allowed
    assert (length(found.bound_to_shown, 1).numpy() < abs(moved - c)).sum() <= allowed
    assert (length(found.certified_error, 1).numpy() < abs(moved + 0.3)).sum() <= allowed
    # The sample's own lambda_max would not do.
    assert (found.lambda_hat.numpy() < lambda_max).sum() > 2 * allowed
    assert 0 < int(found.clipped.sum()) < repeats * n_samples


def test_coverage_over_eps_and_sigma_together() -> None:
    """The same step network. A certificate holds at all radii at once with its confidence; with common draws at two sigma,
    each with half of the failure probability, all hold together."""
    confidence, n_samples, repeats = 0.8, 40, 150
    y, eps, failed, below = torch.zeros(repeats, 1, 1, 1), [0.01, 0.05, 0.1, 0.2], {}, []
    for sigma in (0.1, 0.12):
        found = certify_mean(step, Identity(), y, sigma=sigma, eps=eps, n_samples=n_samples, n_centre=40,
                             confidence=1 - (1 - confidence) / 2)  # fmt: skip
        c, radius = found.shown.flatten().double().numpy(), found.radius.numpy()
        high, low = np.minimum(1 - c, radius), -np.minimum(c, radius)
        jump, here = high - low, norm.sf(0.15 / sigma)
        alpha = MU_SHARE * (1 - confidence) / 2
        mu = [variance_bound(float(v), r, alpha, n_samples) for v, r in zip(found.lambda_hat, radius, strict=True)]
        below.append(np.array(mu) < here * high**2 + (1 - here) * low**2)
        moved = [jump * (norm.sf((0.15 - e) / sigma) - norm.sf(0.15 / sigma)) for e in eps]
        misses = length(found.bound, 1).numpy() < np.stack(moved, 1)
        failed[sigma] = misses.any(1)
        # Jointly over eps, for one sigma.
        assert failed[sigma].sum() <= binom.isf(1e-6, repeats, (1 - confidence) / 2)
    assert (failed[0.1] | failed[0.12]).sum() <= binom.isf(1e-6, repeats, 1 - confidence)
    assert (below[0] | below[1]).sum() <= binom.isf(1e-6, repeats, MU_SHARE * (1 - confidence))


def test_clipping_bounds_what_a_rare_outlier_does() -> None:
    """Draws beyond R are pulled back onto the sphere of radius R around c, and counted."""

    def outlier(y: Tensor, operator: object) -> Tensor:
        return y + 1000 * (y[:, :, :1, :1] > 0.3)

    y = torch.zeros(1, 1, 4, 4)
    found = certify_mean(outlier, Identity(), y, sigma=SIGMA, eps=0.1, n_samples=2000, n_centre=50, seed=1)
    assert float(found.radius[0]) < 2
    assert 2000 * norm.sf(3) / 3 < int(found.clipped[0]) < 200
    assert float(found.trace_hat[0]) <= float(found.radius[0]) ** 2
    assert float(length(found.bound[0], 16)) <= 2 * float(found.radius[0])


def test_chunks_and_batches_do_not_change_the_result() -> None:
    net, y = DPDNN(1, 4), torch.rand(2, 1, 16, 16)
    settings = {"sigma": SIGMA, "eps": [0.05, 0.1], "n_samples": 90, "n_centre": 30}
    whole = certify_mean(net, Identity(), y, **settings, chunk_size=90, image_keys=["a", "b"])
    chunked = certify_mean(net, Identity(), y, **settings, chunk_size=7, image_keys=["a", "b"])
    alone = certify_mean(net, Identity(), y[1:], **settings, image_keys=["b"])
    torch.testing.assert_close(chunked.bound, whole.bound, rtol=1e-4, atol=0)
    torch.testing.assert_close(alone.bound[0], whole.bound[1], rtol=1e-4, atol=0)
    torch.testing.assert_close(whole.at(1).bound, whole.bound[:, 1])
    assert whole.at(1).radius.shape == (2,)


def test_centre_and_radius_are_of_the_first_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """c is their mean and R is 1.05 times their largest distance to it; whether draws are kept in memory or in a file."""
    from invsmooth.certificates import draw_buffer
    from invsmooth.core.rng import smoothing_noise

    y = torch.rand(1, 1, 4, 4)
    settings = {"sigma": SIGMA, "eps": 0.1, "n_samples": 60, "n_centre": 20}
    kept = certify_mean(MatchedFilter(), Identity(), y, **settings)
    first = y + SIGMA * smoothing_noise((1, 4, 4), 0, 20, 0, 0)
    torch.testing.assert_close(kept.shown, first.mean(0, keepdim=True))
    assert float(kept.radius) == pytest.approx(
        1.05 * float((first - first.mean(0)).flatten(1).norm(dim=1).max()), rel=1e-5
    )
    fresh = (y + SIGMA * smoothing_noise((1, 4, 4), 20, 80, 0, 0) - first.mean(0)).flatten(1)
    fresh = fresh * (float(kept.radius) / fresh.norm(dim=1, keepdim=True)).clamp_max(1)
    assert float(kept.lambda_hat) == pytest.approx(float(torch.linalg.matrix_norm(fresh, 2)) ** 2 / 60, rel=1e-4)
    # m^ is the mean of the S draws alone: its distance to c, and both distances to x.
    assert float(kept.mean_offset) == pytest.approx(float(fresh.mean(0).norm()), rel=1e-4)
    assert float(kept.trace_hat) == pytest.approx(float(fresh.square().sum()) / 60, rel=1e-4)
    to_x = (first.mean(0) - y[0] + 0.1).flatten()
    of_x = certify_mean(MatchedFilter(), Identity(), y, **settings, x=y - 0.1)
    assert float(of_x.centre_error) == pytest.approx(float(to_x.norm()), rel=1e-4)
    assert float(of_x.mean_error) == pytest.approx(float((to_x + fresh.mean(0)).norm()), rel=1e-4)
    monkeypatch.setitem(draw_buffer.KEPT_BYTES, "cpu", 0)
    again = certify_mean(MatchedFilter(), Identity(), y, **settings)
    torch.testing.assert_close(again.bound, kept.bound)
    assert (kept.network_evals, again.network_evals) == (81, 81)


def test_without_noise_or_variation() -> None:
    y = torch.rand(1, 1, 4, 4)
    found = certify_mean(MatchedFilter(), Identity(), y, sigma=0.0, eps=[0.0, 0.1], n_samples=50)
    assert found.bound[0, 0] == 0
    assert found.bound[0, 1].isnan()
    assert "needs sigma > 0" in found.reason[0, 1]
    constant = certify_mean(lambda y, operator: y * 0, Identity(), y, sigma=1.0, eps=[0.1, 50.0], n_samples=50)
    assert (constant.bound == 0).all()


def test_the_eigenvalue_is_at_most_the_trace() -> None:
    """Of rank one, where the iteration's tolerance would put it above."""

    def flat(y: Tensor, operator: object) -> Tensor:
        return y.mean((2, 3), keepdim=True).expand_as(y)

    found = certify_mean(flat, Identity(), torch.rand(1, 1, 33, 33), sigma=SIGMA, eps=0.05, n_samples=1100, n_centre=50)
    assert float(found.lambda_hat) == pytest.approx(float(found.trace_hat), rel=1e-9)
    assert float(found.lambda_hat) <= float(found.trace_hat)


def test_more_draws_than_a_dense_matrix_takes() -> None:
    """The iteration, with which eigenvalue and bound are those of the dense matrix."""
    from invsmooth.core.rng import smoothing_noise

    y = torch.rand(1, 1, 33, 33)
    found = certify_mean(lambda y, _: 0.8 * y, Identity(), y, sigma=SIGMA, eps=0.05, n_samples=1100, n_centre=50)
    draws = 0.8 * (y + SIGMA * smoothing_noise((1, 33, 33), 0, 1150, 0, 0)).flatten(1).double()
    offset = draws[50:] - draws[:50].mean(0)
    offset *= (float(found.radius) / offset.norm(dim=1, keepdim=True)).clamp_max(1)
    exact = float(torch.linalg.matrix_norm(offset, 2)) ** 2 / 1100
    assert exact <= float(found.lambda_hat) <= exact * (1 + 1.1e-3)


@pytest.mark.slow
def test_published_network_at_the_measured_setting(shared_data: Path) -> None:
    """A prototype measured at S_0 = 500, cameraman[66:132, 99:165], ratio 0.1, sigma 25/255: R² = 39.4, trace 26.0,
    lambda_hat = 0.40 at S = 1000, 0.38 at 3000, with a discrepancy bound of 8.8e-3 at eps = sigma. Here with fewer draws."""
    pixels = np.asarray(Image.open(shared_data / "set11" / "cameraman.tif").convert("L"))[66:132, 99:165]
    x = torch.tensor(pixels, dtype=torch.float32)[None, None] / 255
    operator = BlockGaussian(0.1, matrix=shared_data / "matrices" / "phi_0_10_1089.mat")
    net = load_checkpoint(shared_data / "weights" / "istanetpp_paper_ord_100.pkl")
    sigma, ratios, n_samples = 25 / 255, (0.1, 0.5, 1.0, 2.0), 300
    eps = [r * sigma for r in ratios]
    found = certify_mean(net, operator, operator.A(x), sigma=sigma, eps=eps, n_samples=n_samples, n_centre=80, x=x)
    assert float(found.radius[0]) ** 2 == pytest.approx(39.4, rel=0.2)
    assert float(found.trace_hat[0]) == pytest.approx(26.0, rel=0.05)
    assert 0.3 < float(found.lambda_hat[0]) < 0.7
    # With mu in place of the 0.66 of S = 3000 the bound grows by about the root.
    mu = variance_bound(float(found.lambda_hat[0]), float(found.radius[0]), MU_SHARE * 0.01, n_samples)
    for measured, bound in zip((0.082, 0.434, 1.035), length(found.bound[0], 4356).tolist(), strict=False):
        assert bound == pytest.approx(measured * math.sqrt(mu / 0.66), rel=0.1)
    assert float(found.bound[0, 2]) < 8.8e-3 / 10
    assert float(found.clipped[0]) <= 5
    # The attack of NUMBERS moves the mean by 0.584 at eps = sigma.
    assert float(length(found.bound[0, 2], 4356)) > 0.584
