"""Image quality, one value per image and never over a batch (SPEC section 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from invsmooth.core.numpy_too import numpy_too

SSIM_WINDOW = 11
"""Side of the window of SSIM, pixels."""


def mse(x_hat: Tensor, x: Tensor) -> Tensor:
    """The paper's loss (eq. 1), l(x_hat, x) = ||x_hat - x||^2 / n.

    Args:
        x_hat, x: images of shape (B, C, H, W), broadcast against each other, any real scale.
    Returns: shape (B,), the square of the images' unit.
    Raises: ValueError: they have different numbers of axes, as an image without its channel.
    """
    if x_hat.ndim != x.ndim:
        raise ValueError(f"images of shapes {tuple(x_hat.shape)} and {tuple(x.shape)}; (B, C, H, W) is needed for both")
    return (x_hat - x).square().flatten(1).mean(1)


def coarse_mse(x_hat: Tensor, x: Tensor, rounding: float) -> Tensor:
    """:func:`mse`, or the largest that it can be where both images are rounded to a relative ``rounding``: numbers that a
    network answers in half precision are known to half the spacing of that type.

    Args:
        rounding: spacing of the numbers, relative; 0 adds nothing.
    Returns: shape (B,).
    """
    value = mse(x_hat, x)
    if rounding == 0:
        return value
    size = (mse(x_hat, torch.zeros_like(x_hat)).sqrt() + mse(x, torch.zeros_like(x)).sqrt()) * rounding / 2
    return (value.sqrt() + size).square()


@numpy_too("x_hat", "x")
def psnr(x_hat: Tensor, x: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / MSE), with ``x_hat`` clipped to [0, 1].

    Args:
        x_hat, x: images of shape (B, C, H, W), [0, 1] pixel scale.
    One image is compared with each of a batch.
    Returns: shape (B,), over all channels together, an array of arrays; inf where the images are identical.
    Raises: ValueError: no floating-point numbers, as those of an image file are.
    """
    check_floating(x_hat, x)
    return mse_to_psnr(mse(x_hat.clamp(0, 1), x))


def check_floating(*images: Tensor) -> None:
    for image in images:
        if not image.is_floating_point():
            raise ValueError(f"images of type {image.dtype}; give floating-point numbers in [0, 1]: grey levels / 255")


def mse_to_psnr(value: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error on the [0, 1] pixel scale."""
    return -10 * torch.log10(value)


@numpy_too("x_hat", "x")
def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): Gaussian window, standard deviation 1.5, data range 1, averaged over the
    windows that lie inside the image, as scikit-image does.

    Args:
        x_hat, x: images of shape (B, C, H, W), [0, 1] pixel scale; ``x_hat`` is clipped.
    Returns: shape (B,), of several channels their mean; nan where a side is below SSIM_WINDOW pixels.
    Raises: ValueError: images of different shapes, or no floating-point numbers.
    """
    check_floating(x_hat, x)
    if x_hat.shape != x.shape or x.ndim != 4:
        raise ValueError(
            f"images of shapes {tuple(x_hat.shape)} and {tuple(x.shape)}; both need the same, (B, C, H, W)"
        )
    if len(x) == 0 or min(x.shape[-2:]) < SSIM_WINDOW:
        return x.new_full((len(x),), torch.nan)
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, per_pixel = structural_similarity_index_measure(
        x_hat.clamp(0, 1), x, data_range=1.0, reduction="none", return_full_image=True
    )
    border = SSIM_WINDOW // 2
    # torchmetrics itself averages over reflected borders, too, which moves the value by up to 0.02 on small images.
    return per_pixel[..., border:-border, border:-border].flatten(1).mean(1)
