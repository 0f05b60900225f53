"""Super-resolution: A filters and keeps every factor-th pixel of every factor-th row."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from invsmooth.lipschitz.norms import MARGIN
from invsmooth.operators.blur import normalised
from invsmooth.operators.sized import SizedOperator


class SuperResolution(SizedOperator):
    """y has shape (B, C, ceil(H/factor), ceil(W/factor)); its pixels are weighted means of those of x around them. What the
    adjoint crops to: :class:`~invsmooth.operators.sized.SizedOperator`.

    Args:
        ratio: 1/factor², the share of pixels: 0.25 for factor 2, 0.0625 for 4; to three digits (0.111 for 3).
        antialias: ``"area"``, the mean of factor × factor pixels, or ``"gaussian"``, of standard deviation factor/2 and
            3 · factor × 3 · factor pixels, with zeros beyond the image.
    Raises: ValueError: no such ratio, or another filter."""

    name = "super_resolution"
    weight: Tensor

    def __init__(self, ratio: float = 0.25, antialias: Literal["area", "gaussian"] = "gaussian") -> None:
        super().__init__()
        factor = round(ratio**-0.5) if 0 < ratio <= 1 else 1
        if factor < 2 or abs(ratio * factor**2 - 1) > 0.005:
            raise ValueError(f"ratio={ratio} is not 1/factor²; 0.25 is factor 2, 0.0625 is factor 4")
        if antialias not in ("area", "gaussian"):
            raise ValueError(f"antialias={antialias!r} is not allowed; allowed: area, gaussian")
        self.ratio, self.antialias = float(ratio), antialias
        self.factor = self.block = factor
        line = np.ones(factor)
        if antialias == "gaussian":
            line = np.exp(-0.5 * ((np.arange(3 * factor) - (3 * factor - 1) / 2) / (factor / 2)) ** 2)
        weight = torch.from_numpy(normalised(np.outer(line, line))).float()
        self.register_buffer("weight", weight[None, None], persistent=False)

    def A(self, x: Tensor) -> Tensor:
        x = self.padded(x)
        y = F.conv2d(x.reshape(-1, 1, *x.shape[-2:]), self.weight.to(x.dtype), stride=self.factor, padding=self.margin)
        return y.reshape(*x.shape[:2], *y.shape[-2:])

    def A_adjoint(self, y: Tensor) -> Tensor:
        planes = y.reshape(-1, 1, *y.shape[-2:])
        x = F.conv_transpose2d(planes, self.weight.to(y.dtype), stride=self.factor, padding=self.margin)
        return self.crop(x.reshape(*y.shape[:2], *x.shape[-2:]))

    @property
    def margin(self) -> int:
        """Pixels of the filter beyond its factor × factor middle, on each side."""
        return (self.weight.shape[-1] - self.factor) // 2

    def norm(self) -> float:
        """||A||, from above. A A^T is a convolution of y with the filter's correlation with itself at multiples of the
        factor; its norm is at most the sum of that (Young's inequality): the sum over the factor² positions of the squared
        sums of the filter at those positions. ``area``: 1/factor, exact."""
        k = self.weight[0, 0].double()
        n = k.shape[-1] // self.factor
        sums = k.reshape(n, self.factor, n, self.factor).sum((0, 2))
        return float(sums.square().sum()) ** 0.5 * (1 + MARGIN)
