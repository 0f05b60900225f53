"""Deblurring: A x = k * x, each channel with the same kernel."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from invsmooth.core.parameters import Positive
from invsmooth.lipschitz.norms import MARGIN
from invsmooth.operators.base import LinearOperator

Kernel = Literal["gaussian", "uniform", "motion"]
POINTS = 64  # of a motion, for each pixel of its length


class Blur(LinearOperator):
    """A convolution with a kernel of numbers >= 0 that sum to 1. y has the shape of x, (B, C, H, W).

    Args:
        kernel: ``"gaussian"``; ``"uniform"``, a square; ``"motion"``, a line.
        width: standard deviation, side (rounded to an odd number), or length, in pixels.
        angle: of the motion in degrees, counterclockwise from the direction of a row.
        padding: ``"circular"``, the image goes on periodically, or ``"zeros"``.
    Raises: ValueError: another name, or a width that is not positive; for circular padding, in ``A``, an image smaller
        than half of the kernel."""

    name = "blur"
    hashed = ("padding",)
    weight: Tensor

    def __init__(
        self, kernel: Kernel = "gaussian", width: Positive = 1.5, angle: float = 0.0,
        padding: Literal["circular", "zeros"] = "circular",
    ) -> None:  # fmt: skip
        super().__init__()
        if padding not in ("circular", "zeros"):
            raise ValueError(f"padding={padding!r} is not allowed; allowed: circular, zeros")
        if not width > 0:
            raise ValueError(f"width={width} has to be positive")
        self.kernel, self.width, self.angle, self.padding = kernel, width, angle, padding
        numbers = {"gaussian": gaussian, "uniform": uniform, "motion": lambda w: motion(w, angle)}
        if kernel not in numbers:
            raise ValueError(f"kernel={kernel!r} is not allowed; allowed: {', '.join(numbers)}")
        self.register_buffer("weight", torch.from_numpy(numbers[kernel](width)).float()[None, None], persistent=False)

    def A(self, x: Tensor) -> Tensor:
        return self.correlate(x, self.weight.flip(2, 3).to(x.dtype))  # torch's conv2d correlates

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.correlate(y, self.weight.to(y.dtype))

    def norm(self) -> float:
        """||A||, from above: the sum of the kernel (Young's inequality); exact where the padding is circular."""
        return float(self.weight.double().sum()) * (1 + MARGIN)

    def correlate(self, x: Tensor, weight: Tensor) -> Tensor:
        radius = [s // 2 for s in weight.shape[-2:]]
        if self.padding == "circular" and any(r > s for r, s in zip(radius, x.shape[-2:], strict=True)):
            raise ValueError(
                f"an image of {tuple(x.shape[-2:])} pixels is too small for a kernel of {weight.shape[-2:]}"
            )
        pad = (radius[1], radius[1], radius[0], radius[0])
        planes = F.pad(x.reshape(-1, 1, *x.shape[-2:]), pad, "circular" if self.padding == "circular" else "constant")
        return F.conv2d(planes, weight).reshape(x.shape)


def gaussian(width: float) -> np.ndarray:
    """To three standard deviations."""
    radius = math.ceil(3 * width)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    return normalised(np.outer(line, line))


def uniform(width: float) -> np.ndarray:
    side = 2 * (round(width) // 2) + 1
    return normalised(np.ones((side, side)))


def motion(width: float, angle: float) -> np.ndarray:
    """A line through the middle; its points are shared between the pixels around them."""
    radius = math.ceil(width / 2)
    along = np.linspace(-0.5, 0.5, POINTS * math.ceil(width)) * max(width - 1, 0)
    rows = radius - along * math.sin(math.radians(angle))
    columns = radius + along * math.cos(math.radians(angle))
    kernel = np.zeros((2 * radius + 2, 2 * radius + 2))
    for row, share_of_row in parts(rows):
        for column, share_of_column in parts(columns):
            np.add.at(kernel, (row, column), share_of_row * share_of_column)
    return normalised(kernel[:-1, :-1])


def parts(places: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The two pixels around each place, and its share of each."""
    places = places.round(9)
    first = np.floor(places).astype(int)
    return [(first, 1 - (places - first)), (first + 1, places - first)]


def normalised(kernel: np.ndarray) -> np.ndarray:
    return kernel / kernel.sum()
