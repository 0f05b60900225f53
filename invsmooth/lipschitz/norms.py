"""Upper bounds of the spectral norms of matrices and convolutions. Each is a proof, not an estimate.

Numbers are computed in float64 and enlarged by MARGIN, which is far above the rounding of the linear
algebra library (about size · 1e-16)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MARGIN = 1e-9
"""Relative."""
GRID = 64
"""Points of the Fourier grid along each axis. At 64 a 3×3 kernel's bound is at most 0.24 % too large."""
PADDINGS = ("zeros", "circular")


def matrix_norm(matrix: Tensor) -> float:
    """An upper bound of the largest singular value of a matrix (m, n)."""
    return float(matrix_norm_tensor(matrix.detach()))


def matrix_norm_tensor(matrix: Tensor) -> Tensor:
    """:func:`matrix_norm` with a gradient."""
    return torch.linalg.matrix_norm(matrix.double(), 2) * (1 + MARGIN)


def conv_norm(weight: Tensor, padding: str = "zeros", grid: int = GRID) -> float:
    """An upper bound of the spectral norm of a convolution on images of any size.

    The operator is ``conv2d(x, weight, padding=(k - 1) // 2)`` with zero padding of any width, or with
    circular padding. A stride only drops outputs, so that the bound holds for it as well, and the
    transposed convolution has the same norm.

    Let K(ω) be the kernel's Fourier matrix (out × in) and M = max over ω of its largest singular value.
    Circular padding samples K, zero padding restricts the convolution on the infinite plane: the norm
    is at most M. For fixed unit vectors u, v the function ω -> <u, K(ω) v> is, up to a phase, a
    trigonometric polynomial of degree d = (k - 1)/2 along each axis. By a lemma of M. Riesz it keeps at
    least cos(d π/N) of its maximum at the nearest of N grid points of the axis. So M is at most the
    maximum over the grid, divided by that cosine once for each axis.

    Args:
        weight: shape (out, in, k, l); groups and dilation 1.
        padding: ``"zeros"`` or ``"circular"``. Reflection and replication are not covered.
        grid: N, more than twice the degree.
    Raises: ValueError: another padding, a kernel of even size, or one too large for the grid."""
    return float(conv_norm_tensor(weight.detach(), padding, grid))


def conv_norm_tensor(weight: Tensor, padding: str = "zeros", grid: int = GRID) -> Tensor:
    """:func:`conv_norm` with a gradient in ``weight``."""
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} has no proven norm; allowed: {', '.join(PADDINGS)}")
    if weight.ndim != 4 or any(k % 2 == 0 for k in weight.shape[-2:]):
        raise ValueError(f"a kernel of shape {tuple(weight.shape)} has no proven norm: odd height and width are needed")
    if max(weight.shape[-2:]) - 1 >= grid:
        raise ValueError(f"a kernel of shape {tuple(weight.shape)} is too large for a grid of {grid} points")
    # The transform of real numbers: the other half of the frequencies has the same singular values.
    spectrum = torch.fft.rfft2(weight.double(), s=(grid, grid))
    if min(weight.shape[:2]) == 1:
        largest = spectrum.abs().square().sum((0, 1)).max().sqrt()
    else:
        largest = torch.linalg.matrix_norm(spectrum.permute(2, 3, 0, 1), 2).max()
    kept = math.prod(math.cos(math.pi * (k - 1) / (2 * grid)) for k in weight.shape[-2:])
    return largest / kept * (1 + MARGIN)
