"""Measure images: y = A x + b, with b drawn once per image and kept through attack and smoothing (SPEC section 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invsmooth.core.rng import standard_normal
from invsmooth.core.units import to_grey_levels
from invsmooth.operators.base import LinearOperator, step_of


@dataclass(frozen=True)
class Setting:
    """One measurement setting of an evaluation."""

    operator: LinearOperator  # A
    ratio: float  # m/n, as in the config and the rows
    sigma_b: float  # standard deviation of b, [0, 1] pixel scale
    noise_seed: int = 0  # of b

    def __str__(self) -> str:
        return f"m/n = {self.ratio:g}, sigma_b = {to_grey_levels(self.sigma_b):g}"


@dataclass(frozen=True)
class Measured:
    """A batch of measured images: names, x (B, 1, H, W), b and y (B, …), all on the [0, 1] scale."""

    setting: Setting
    names: Sequence[str]
    x: Tensor
    b: Tensor
    y: Tensor

    @property
    def back(self) -> Tensor:
        """A^T y, in the images' scale: divided by ||A||² where that is not 1 (:func:`~invsmooth.operators.base.step_of`)."""
        return step_of(self.setting.operator) * self.setting.operator.A_adjoint(self.y)


def measure(setting: Setting, names: Sequence[str], x: Tensor) -> Measured:
    """Measure images ``x`` (B, 1, H, W). An image's b is sigma_b times a normal tensor that (noise_seed, name) determines:
    the same for every network and run, whatever the run's own seed, and common over sigma_b."""
    y = setting.operator.A(x)
    if setting.sigma_b == 0:
        return Measured(setting, names, x, torch.zeros_like(y), y)
    noise = torch.stack([standard_normal(y.shape[1:], setting.noise_seed, "b", name) for name in names])
    b = setting.sigma_b * noise.to(y)
    return Measured(setting, names, x, b, y + b)
