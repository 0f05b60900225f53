"""LipNet: a feed-forward denoiser with a proven Lipschitz constant (SPEC section 10)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count
from invsmooth.lipschitz.rounding import UNIT, largest_norm
from invsmooth.lipschitz.steps import PotentialStep
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity

GREY = 0.5
"""Subtracted from the image, so that zero padding continues it with a mean grey."""

ROUNDOFF = 2 * UNIT
"""Twice that of float64: for a sum of two numbers, one of them rounded before."""

Constant = Annotated[float, Field(ge=1, description="a number >= 1")]


class LipNet(nn.Module):
    """``n_steps`` steps of :class:`invsmooth.lipschitz.steps.PotentialStep` one after the other, for A = I.

    The constant of the network is the product of the constants of its steps, which share out ``constant``: step k has
    constant^p_k with learned p_k >= 0 of sum 1. At constant 1 all steps are 1-Lipschitz.

    Args:
        filters, kernel, group: of each step.
        constant: L >= 1 of the network; null: it is learned (``algo=certified`` weighs it against the error).
    Raises: ValueError: a size out of range."""

    def __init__(
        self, n_steps: int = 6, filters: int = 64, kernel: int = 7, constant: Constant | None = 1.0, group: Count = 1
    ) -> None:
        super().__init__()
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps} has to be at least 1")
        if constant is not None and constant < 1:
            raise ValueError(f"constant={constant} has to be at least 1")
        self.n_steps, self.filters, self.kernel, self.constant = n_steps, filters, kernel, constant
        self.steps = nn.ModuleList(PotentialStep(filters, kernel, group) for _ in range(n_steps))
        self.shares = nn.Parameter(torch.zeros(n_steps))
        if constant is None:
            self.log_constant = nn.Parameter(torch.tensor(math.log(0.2)))  # L = 1 + exp(log_constant)

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Denoise images (B, C, H, W), each channel on its own. Raises: NoConstant: A is not the identity."""
        self.check_operator(operator)
        x, growths = y - GREY, self.growths()
        for step, growth in zip(self.steps, growths, strict=True):
            x = step(x, growth)
        return x + GREY

    def check_operator(self, operator: Operator) -> None:
        """Raises: NoConstant: A is not the identity."""
        if not isinstance(operator, Identity):
            raise NoConstant(
                f"lipnet is a denoiser (A = I), not for {type(operator).__name__}; use estimator=null_space"
            )

    def total(self) -> Tensor:
        """L, float64."""
        if self.constant is None:
            return 1 + self.log_constant.double().exp()
        return torch.tensor(self.constant, dtype=torch.float64, device=self.shares.device)

    def growths(self) -> Tensor:
        """The constant of each step, float64."""
        return self.total() ** self.shares.double().softmax(0)

    def lipschitz_tensor(self, operator: Operator) -> Tensor:
        self.check_operator(operator)
        return self.growths().prod()

    def lipschitz(self, operator: Operator) -> float:
        return float(self.lipschitz_tensor(operator).detach()) * (1 + 1e-12)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """Rounding in float64: the error of each step, enlarged by the constants of the steps after it."""
        size = largest_norm(y, eps) + GREY * math.sqrt(y[0].numel())
        error = ROUNDOFF * size
        for step, growth in zip(self.steps, self.growths().tolist(), strict=True):
            assert isinstance(step, PotentialStep)
            error = growth * error + step.rounding(size, growth)
            size = growth * size + error
        return error + ROUNDOFF * size
