"""A learned convex regulariser."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.core.parameters import Count, Positive
from invsmooth.lipschitz.norms import conv_norm_tensor

Parts = tuple[Tensor, Tensor, Tensor]


class ConvexRidge(nn.Module):
    """R(x) = strength · sum_i sum_p psi_i((w_i * x)_p), a convex ridge regulariser (Goujon et al. 2022,
    arXiv 2211.12461).

    psi_i'(t) = clamp(t, -tau_i, tau_i): the Huber function, the shape that splines take when they are
    learned. It is nondecreasing, with slope 0 or 1, and the convolution W has norm 1 (it is divided by
    a proven bound), so that R is convex and grad R Lipschitz with constant ``strength``. The filters w_i
    have mean zero, and only those positions p count at which a filter lies within the image: R is 0 on
    flat images and sees no edge at the border. Each channel of a colour image has the same R.

    Args:
        n_filters, kernel_size: of the convolution W; odd size.
        strength, threshold: initial values of strength and tau_i; learned.
    Raises: ValueError: an even kernel size, or a value that is not positive."""

    def __init__(
        self, n_filters: Count = 32, kernel_size: Count = 7, strength: Positive = 5.0, threshold: Positive = 0.002
    ) -> None:
        super().__init__()
        if n_filters < 1 or kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"n_filters={n_filters}, kernel_size={kernel_size}: at least 1, and an odd size >= 3")
        if not (strength > 0 and threshold > 0):
            raise ValueError(f"strength={strength} and threshold={threshold} have to be positive")
        self.filters = nn.Parameter(torch.randn(n_filters, 1, kernel_size, kernel_size) / kernel_size)
        self.log_strength = nn.Parameter(torch.tensor(math.log(strength)))
        self.log_thresholds = nn.Parameter(torch.full((n_filters, 1, 1), math.log(threshold)))

    def parts(self, dtype: torch.dtype) -> Parts:
        """Filters (as they are applied), thresholds and strength, with gradients."""
        filters = self.filters.to(dtype)
        filters = filters - filters.mean((2, 3), keepdim=True)
        return (
            filters / conv_norm_tensor(filters).to(dtype),
            self.log_thresholds.to(dtype).exp(),
            self.log_strength.to(dtype).exp(),
        )


def gradient(x: Tensor, filters: Tensor, thresholds: Tensor, strength: Tensor) -> Tensor:
    """grad R(x). Raises: ValueError: images smaller than the filters."""
    if min(x.shape[-2:]) < filters.shape[-1]:
        raise ValueError(f"images of {tuple(x.shape[-2:])} pixels are smaller than the filters: {filters.shape[-1]}")
    filters, thresholds = (v.repeat(x.shape[1], *[1] * (v.ndim - 1)) for v in (filters, thresholds))
    response = F.conv2d(x, filters, groups=x.shape[1])
    return strength * F.conv_transpose2d(response.clamp(-thresholds, thresholds), filters, groups=x.shape[1])


def slopes(x: Tensor, filters: Tensor, thresholds: Tensor, strength: Tensor) -> Tensor:
    """strength · psi_i'' at x, without a gradient in x (it is constant almost everywhere)."""
    filters, thresholds = (v.repeat(x.shape[1], *[1] * (v.ndim - 1)) for v in (filters, thresholds))
    return strength * (F.conv2d(x, filters, groups=x.shape[1]).abs() <= thresholds).to(x)


def hessian(v: Tensor, slope: Tensor, filters: Tensor) -> Tensor:
    """Hessian of R times v, with the :func:`slopes` of the point."""
    filters = filters.repeat(v.shape[1], 1, 1, 1)
    return F.conv_transpose2d(slope * F.conv2d(v, filters, groups=v.shape[1]), filters, groups=v.shape[1])


def rounding_scale(filters: Tensor, strength: Tensor) -> float:
    """An upper bound of strength · || |W|^T |W| ||: how much rounding of x can grow in grad R."""
    return float(strength * filters.abs().flatten(1).sum(1).square().sum())
