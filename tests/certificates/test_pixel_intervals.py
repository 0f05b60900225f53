from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm

from invsmooth.certificates import order_statistic_index, pixel_intervals, pixels, shifted_quantile
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import MatchedFilter
from invsmooth.operators import Identity
from tests.certificates.nets import ReluNet

SIGMA = 0.1


def test_ends_are_order_statistics_of_each_pixel() -> None:
    y, eps, q, n_samples = torch.rand(2, 1, 3, 4), [0.0, 0.05], 0.4, 60
    found = pixel_intervals(
        MatchedFilter(), Identity(), y, sigma=SIGMA, eps=eps, n_samples=n_samples, q=q, confidence=0.9, chunk_size=7
    )
    for i in range(2):
        ranked = (y[i] + SIGMA * smoothing_noise((1, 3, 4), 0, n_samples, 0, i)).sort(dim=0).values
        for j, e in enumerate(eps):
            upper = order_statistic_index(n_samples, shifted_quantile(q, e, SIGMA), 0.95)
            # The mirrored rule: with probability 0.95 at most k - 1 of the draws are below the lower quantile.
            q_low = norm.cdf(norm.ppf(q) - e / SIGMA)
            lower = max(k for k in range(1, n_samples) if binom.sf(k - 1, n_samples, q_low) >= 0.95)
            assert (found.k_lower[j], found.k_upper[j]) == (lower, upper)
            torch.testing.assert_close(found.upper[i, j], ranked[upper - 1])
            torch.testing.assert_close(found.lower[i, j], ranked[lower - 1])
    assert found.network_evals == 1 + n_samples


@pytest.mark.parametrize("simultaneous", ["none", "bonferroni"])
def test_coverage(simultaneous: str) -> None:
    """f(y) = y: the quantile of a pixel at the worst z' is q-shifted by eps. Pointwise a share 1 - c of the pixels may
    be missed; with Bonferroni a share 1 - c of the images."""
    repeats, confidence, eps, n = 300, 0.9, 0.05, 64
    y = torch.zeros(repeats, 1, 8, 8)
    found = pixel_intervals(
        MatchedFilter(), Identity(), y, sigma=SIGMA, eps=eps, n_samples=100, confidence=confidence,
        simultaneous=simultaneous,
    )  # fmt: skip
    missed = ((found.upper < eps) | (found.lower > -eps)).flatten(1)
    if simultaneous == "none":
        assert 0.3 * (1 - confidence) < missed.double().mean() <= 1 - confidence
        assert missed.any(1).double().mean() > 0.9
    else:
        assert missed.any(1).sum() <= binom.isf(1e-6, repeats, 1 - confidence)
        assert float(found.upper.mean()) < 3 * eps
    assert missed.shape == (repeats, n)


def test_holds_at_shifted_signals() -> None:
    net, eps = ReluNet(16), 0.1
    y = torch.rand(1, 1, 4, 4)
    found = pixel_intervals(net, Identity(), y, sigma=SIGMA, eps=eps, n_samples=2000, simultaneous="bonferroni")
    noise = SIGMA * smoothing_noise((1, 4, 4), 0, 2000, 99)
    for seed in range(20):
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            median = net(y + eps * direction / direction.norm() + noise, None).median(0).values
        assert ((found.lower[0] <= median) & (median <= found.upper[0])).all()
    assert (found.upper - found.lower).mean() < 8 * SIGMA


def test_strips_of_pixels_give_the_same_band(monkeypatch: pytest.MonkeyPatch) -> None:
    y = torch.rand(1, 1, 5, 5)
    settings = {"sigma": SIGMA, "eps": 0.05, "n_samples": 80}
    whole = pixel_intervals(ReluNet(25), Identity(), y, **settings)
    monkeypatch.setattr(pixels, "EXTREME_BYTES", 4000)
    strips = pixel_intervals(ReluNet(25), Identity(), y, **settings)
    torch.testing.assert_close(strips.upper, whole.upper)
    torch.testing.assert_close(strips.lower, whole.lower)
    assert strips.network_evals > whole.network_evals == 81


def test_no_band_where_the_draws_do_not_reach() -> None:
    y = torch.rand(1, 1, 4, 4)
    found = pixel_intervals(MatchedFilter(), Identity(), y, sigma=SIGMA, eps=[0.0, 0.5], n_samples=50)
    assert found.upper[:, 0].isfinite().all()
    assert found.upper[:, 1].isnan().all()
    assert found.lower[:, 1].isnan().all()
    assert (found.reason[0], found.k_upper[1]) == ("", None)
    assert "no certificate" in found.reason[1]
    still = pixel_intervals(MatchedFilter(), Identity(), y, sigma=0.0, eps=[0.0, 0.5], n_samples=50)
    torch.testing.assert_close(still.upper[:, 0], y)
    torch.testing.assert_close(still.lower[:, 0], y)
    with pytest.raises(ValueError, match="neither none nor bonferroni"):
        pixel_intervals(MatchedFilter(), Identity(), y, sigma=0.1, eps=0.0, n_samples=9, simultaneous="dkw")


def test_largest_values_of_a_stream() -> None:
    values = torch.rand(200, 6, generator=torch.Generator().manual_seed(0))
    largest = pixels.Largest(5, 200, values[0])
    for part in values.split(13):
        largest.add(part)
    assert np.array_equal(largest.descending()[:5], values.sort(dim=0, descending=True).values[:5])
    assert len(largest.rows) == 10
