from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from invsmooth.core.units import Units, certified_radius, eps_over_sigma, to_unit_scale
from invsmooth.metrics import mse, psnr, ssim


def test_metrics_are_per_image_and_agree_with_scikit_image() -> None:
    coarse = torch.rand(3, 1, 12, 10, generator=torch.Generator().manual_seed(0))
    x = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
    x_hat = x + torch.tensor([0.01, 0.1, 0.3]).view(3, 1, 1, 1) * torch.randn(x.shape)
    for i in range(3):
        a, b = x_hat[i, 0].clamp(0, 1).numpy(), x[i, 0].numpy()
        assert float(psnr(x_hat, x)[i]) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-4)
        expected = structural_similarity(
            b, a, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert float(ssim(x_hat, x)[i]) == pytest.approx(expected, abs=1e-4)
    assert mse(x_hat, x).shape == (3,)
    assert torch.isinf(psnr(x, x)).all()


def test_loss_is_divided_by_the_pixels_and_not_clipped() -> None:
    assert mse(torch.full((2, 1, 4, 5), 3.0), torch.ones(2, 1, 4, 5)).tolist() == [4, 4]


def test_the_two_unit_protocols_differ_by_255() -> None:
    """ERRATA 1: eps is an l2 norm over [0, 1] pixels, sigma is in grey levels; the paper divides the raw numbers."""
    assert to_unit_scale(12) == 12 / 255
    assert eps_over_sigma(10, 12, Units.paper) == 10 / 12
    assert eps_over_sigma(10, 12, Units.matched) == pytest.approx(10 * 255 / 12)
    assert certified_radius(10, Units.paper) / to_unit_scale(12) == pytest.approx(10 / 12)
    assert certified_radius(10, Units.matched) == 10
    assert (eps_over_sigma(0, 0, Units.matched), eps_over_sigma(1, 0, Units.paper)) == (0, math.inf)


def test_an_image_without_its_channel_is_refused() -> None:
    """It would be compared with every image of the batch."""
    with pytest.raises(ValueError, match=r"shapes \(2, 1, 4, 4\) and \(2, 4, 4\)"):
        psnr(torch.rand(2, 1, 4, 4), torch.rand(2, 4, 4))
