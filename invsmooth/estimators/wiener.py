"""Wiener filter: linear, in the Fourier domain."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import NotNegative, Positive
from invsmooth.lipschitz.norms import MARGIN
from invsmooth.lipschitz.rounding import fourier_rounding
from invsmooth.operators.base import Operator
from invsmooth.operators.blur import Blur
from invsmooth.operators.identity import Identity

GRID = 1024
"""Frequencies of each axis at which the gain of a deconvolution is bounded."""


class Wiener(nn.Module):
    """x_hat = argmin ||A x - y||² + alpha · sum over frequencies w of l(w)^(exponent/2) |x^(w)|², for A = I and for a
    blur with circular padding: the Wiener filter (Wiener 1949) of images whose power spectrum is
    sigma_b² / (alpha l^(exponent/2)).

    l(w) = 4 sin²(w_1/2) + 4 sin²(w_2/2) is that of the discrete Laplacian, |w|² for small frequencies in radians
    per pixel. The power of natural images falls about like |w|^-2 (Field 1987). With ``exponent`` 4 it is the filter
    of ``skimage.restoration.wiener``, with 0 :class:`Ridge`.

    With A = I the image goes on as its mirror image (otherwise the left border would mix with the right one). A
    deconvolution goes on periodically, as A does.

    Constants. With the transfer function a of A the filter multiplies each frequency by
    g = conj(a) / (|a|² + alpha l^(exponent/2)): the constant is the largest |g|, and in signal space the largest
    |a g|, which is at most 1. The mirror E has E^T E = 4 I, so that E^T G E / 4 has norm max |g|, too. For A = I that
    is 1, at w = 0. For a blur it is bounded for images of every size, see :meth:`largest_gain`.

    Args:
        alpha: weight of the prior. 0.4 suits sigma_b = 15 grey levels with A = I.
        exponent: of the power spectrum. Of 2, 2.5 and 3 the last was the best on crops of Train400.
    Raises: ValueError: a parameter out of range."""

    def __init__(self, alpha: Positive = 0.4, exponent: NotNegative = 3.0) -> None:
        super().__init__()
        if not (0 < alpha < math.inf and 0 <= exponent < math.inf):
            raise ValueError(f"alpha={alpha} has to be positive, exponent={exponent} at least 0")
        self.alpha, self.exponent = alpha, exponent

    def check_operator(self, operator: Operator) -> None:
        """Raises: NoConstant: A is neither the identity nor a blur with circular padding."""
        if not (isinstance(operator, Identity) or (isinstance(operator, Blur) and operator.padding == "circular")):
            raise NoConstant(
                f"wiener is for A = I and for operator=blur with padding=circular, not for {type(operator).__name__}"
            )

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images like y (B, 1, H, W). Raises: NoConstant: see :meth:`check_operator`."""
        self.check_operator(operator)
        deblurs = isinstance(operator, Blur)
        image = y if deblurs else mirrored(y)
        size = (image.shape[-2], image.shape[-1])
        a = transfer(operator, size, image) if isinstance(operator, Blur) else image.new_ones(())
        gain = a.conj() / (a.abs().square() + self.alpha * laplacian(size, image) ** (self.exponent / 2))
        x = torch.fft.irfft2(torch.fft.rfft2(image) * gain, s=size)
        return x if deblurs else unmirrored(x)

    def lipschitz(self, operator: Operator) -> float:
        self.check_operator(operator)
        return self.largest_gain(operator) if isinstance(operator, Blur) else self.lipschitz_signal(operator)

    def lipschitz_signal(self, operator: Operator) -> float:
        """|a|² / (|a|² + alpha l^(exponent/2)) with |a| <= 1 and l >= 0."""
        self.check_operator(operator)
        return (1 / (1 + self.alpha) if self.exponent == 0 else 1.0) * (1 + MARGIN)

    @torch.no_grad()
    def largest_gain(self, operator: Blur) -> float:
        """Upper bound of max |g| over all frequencies, so for images of every size.

        The frequencies are cut into cells around GRID × GRID points. |a| differs within a cell by at most its half
        diagonal times sum |k(t)| |t|, a bound of the gradient; l is at least its value at the corner nearest to 0. Of
        s / (s² + c) the largest value over an interval of s is at the point nearest to the root of c."""
        kernel = operator.weight[0, 0].double()
        padded = torch.zeros(GRID, GRID, dtype=torch.float64, device=kernel.device)
        padded[: kernel.shape[0], : kernel.shape[1]] = kernel
        s = torch.fft.fft2(padded).abs()
        rows, columns = (torch.arange(n, device=kernel.device, dtype=torch.float64) - n // 2 for n in kernel.shape)
        steepest = float((kernel.abs() * (rows[:, None].square() + columns.square()).sqrt()).sum())
        half = math.pi / GRID
        reach = half * math.sqrt(2) * steepest + 1e-12  # and the rounding of the transform
        low, high = (s - reach).clamp_min(0), (s + reach).clamp_max(1)
        w = (2 * math.pi * torch.fft.fftfreq(GRID, dtype=torch.float64, device=kernel.device)).abs()
        nearest = 4 * ((w - half).clamp_min(0) / 2).sin().square()
        c = self.alpha * (nearest[:, None] + nearest) ** (self.exponent / 2)
        at = torch.minimum(torch.maximum(c.sqrt(), low), high)
        return float((at / (at.square() + c)).max()) * (1 + MARGIN)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """Two Fourier transforms, of an image four times as large where it is mirrored."""
        return fourier_rounding(y, eps, n_transforms=2) * self.lipschitz(operator)


def transfer(operator: Blur, size: tuple[int, int], like: Tensor) -> Tensor:
    """a(w), on the frequencies of ``rfft2``: the transform of the image of a point at the origin."""
    point = torch.zeros(1, 1, *size, device=operator.weight.device, dtype=operator.weight.dtype)
    point[..., 0, 0] = 1
    return torch.fft.rfft2(operator.A(point).to(like))


def laplacian(size: tuple[int, int], like: Tensor) -> Tensor:
    """l(w) on the frequencies of ``rfft2``, shape (H, W // 2 + 1)."""
    rows, columns = (
        4 * (math.pi * frequencies(n, device=like.device, dtype=like.dtype)).sin().square()
        for frequencies, n in ((torch.fft.fftfreq, size[0]), (torch.fft.rfftfreq, size[1]))
    )
    return rows[:, None] + columns


def mirrored(y: Tensor) -> Tensor:
    """E y: the image and its mirror images, (B, C, H, W) to (B, C, 2H, 2W), which goes on periodically without a step."""
    y = torch.cat([y, y.flip(-1)], -1)
    return torch.cat([y, y.flip(-2)], -2)


def unmirrored(z: Tensor) -> Tensor:
    """E^T z / 4: the mean of the four mirror images. ``unmirrored(mirrored(y))`` is y."""
    height, width = z.shape[-2] // 2, z.shape[-1] // 2
    z = (z[..., :height, :] + z[..., height:, :].flip(-2)) / 2
    return (z[..., :width] + z[..., width:].flip(-1)) / 2
