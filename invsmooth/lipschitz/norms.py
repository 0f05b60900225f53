"""Upper bounds of the spectral norms of matrices and convolutions. Each is a proof, not an estimate.

Numbers are computed in float64 and enlarged by MARGIN, which is far above the rounding of the linear
algebra library (about size · 1e-16)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant, NotFiniteError

MARGIN = 1e-9
"""Relative."""
GRID = 64
"""Points of the Fourier grid along each axis. At 64 a 3×3 kernel's bound is at most 0.24 % too large."""
PADDINGS = ("zeros", "circular")


def matrix_norm(matrix: Tensor) -> float:
    """An upper bound of the largest singular value of a matrix (m, n). Raises: NotFiniteError: nan or inf in it."""
    return float(matrix_norm_tensor(matrix.detach()))


def matrix_norm_tensor(matrix: Tensor) -> Tensor:
    """:func:`matrix_norm` with a gradient."""
    return torch.linalg.matrix_norm(finite(matrix).double(), 2) * (1 + MARGIN)


def conv_norm(weight: Tensor, padding: str = "zeros", grid: int = GRID) -> float:
    """An upper bound of the spectral norm of a convolution on images of any size.

    The operator is ``conv2d`` with zero padding of any width, or with circular padding of at most
    (k - 1)/2 pixels. A stride only drops outputs, so that the bound holds for it as well. A transposed
    convolution with zero padding, whatever its stride, is the adjoint of one: the same bound.

    Let K(ω) be the kernel's Fourier matrix (out × in) and M the maximum over ω of its largest singular
    value. Circular padding samples K, zero padding restricts the convolution on the infinite plane: the
    norm is at most M. For fixed unit vectors u, v and a phase φ, Re(φ <u, K(ω) v>) is, with the kernel
    centred, a real trigonometric polynomial of degree d = (k - 1)/2 along each axis; for those of the
    maximum it attains M. By a lemma of M. Riesz such a polynomial keeps at least cos(d t) of its
    maximum at a distance t <= π/d along the axis, so cos(d π/N) at the nearest of N grid points. M is
    therefore at most the maximum over the grid, divided by that cosine once for each axis.

    Args:
        weight: shape (out, in, k, l), or (in, out, k, l): groups and dilation 1.
        padding: ``"zeros"`` or ``"circular"``. Reflection and replication are not covered.
        grid: N, at least k and l.
    Raises: NoConstant: another padding, a kernel of even size, or one too large for the grid.
        NotFiniteError: nan or inf among the weights."""
    return float(conv_norm_tensor(weight.detach(), padding, grid))


def conv_norm_tensor(weight: Tensor, padding: str = "zeros", grid: int = GRID) -> Tensor:
    """:func:`conv_norm` with a gradient in ``weight``."""
    if padding not in PADDINGS:
        raise NoConstant(f"padding={padding!r} has no proven norm; allowed: {', '.join(PADDINGS)}")
    if weight.ndim != 4 or any(k % 2 == 0 for k in weight.shape[-2:]):
        raise NoConstant(f"a kernel of shape {tuple(weight.shape)} has no proven norm: odd height and width are needed")
    if max(weight.shape[-2:]) - 1 >= grid:
        raise NoConstant(f"a kernel of shape {tuple(weight.shape)} is too large for a grid of {grid} points")
    # The transform of real numbers: the other half of the frequencies has the same singular values.
    spectrum = torch.fft.rfft2(finite(weight).double(), s=(grid, grid))
    if min(weight.shape[:2]) == 1:
        largest = torch.linalg.vector_norm(spectrum, dim=(0, 1)).max()
    else:
        largest = torch.linalg.matrix_norm(spectrum.permute(2, 3, 0, 1), 2).max()
    kept = math.prod(math.cos(math.pi * (k - 1) / (2 * grid)) for k in weight.shape[-2:])
    return largest / kept * (1 + MARGIN)


def conv_layer_norm(layer: nn.Conv2d | nn.ConvTranspose2d, grid: int = GRID) -> float:
    """:func:`conv_norm` of a layer: an upper bound of its constant, l2 to l2; the bias does not matter.

    Covered are odd kernels with any stride and zero padding, transposed or not, and circular padding.
    Raises: NoConstant: dilation, groups, another padding, a kernel of even size, or no such layer.
        NotFiniteError: nan or inf among the weights."""
    name, kinds = type(layer).__name__, (nn.Conv2d, nn.ConvTranspose2d)
    if not any(isinstance(layer, kind) and type(layer).forward is kind.forward for kind in kinds):
        raise NoConstant(f"{name} has no proven norm: it is no Conv2d or ConvTranspose2d of torch")
    if layer.groups != 1 or any(d != 1 for d in layer.dilation):
        raise NoConstant(
            f"{name} with groups={layer.groups}, dilation={layer.dilation} has no proven norm: 1 is needed"
        )
    # "same" pads by half of the kernel, "valid" not at all. More circular padding than half repeats outputs.
    widths = (0, 0) if isinstance(layer.padding, str) else layer.padding
    if layer.padding_mode == "circular" and any(2 * p >= k for p, k in zip(widths, layer.kernel_size, strict=True)):
        raise NoConstant(f"{name} has no proven norm: circular padding={layer.padding} exceeds half of the kernel")
    return conv_norm(layer.weight, layer.padding_mode, grid)


def finite(weight: Tensor) -> Tensor:
    if not bool(weight.isfinite().all()):
        raise NotFiniteError(f"weights of shape {tuple(weight.shape)} are not finite (nan or inf): they have no norm")
    return weight
