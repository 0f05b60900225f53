"""ISTA-Net++ (You, Xie and Zhang, ICME 2021): unfolded proximal gradient steps for compressed sensing at any ratio."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.core.parameters import Count
from invsmooth.estimators.unfolded import unfolded
from invsmooth.operators.base import Operator, step_of
from invsmooth.operators.sized import SizedOperator


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class Phase(nn.Module):
    """One phase: gradient step on ||Ax - y||²/2 with step size lambda, then a learned residual correction told rho."""

    def __init__(self, channels: int, image_channels: int) -> None:
        super().__init__()
        self.head_conv = nn.Conv2d(image_channels + 1, channels, 3, padding=1)
        self.res_blocks = nn.Sequential(ResidualBlock(channels), ResidualBlock(channels))
        self.tail_conv = nn.Conv2d(channels, image_channels, 3, padding=1)

    def forward(self, x: Tensor, y: Tensor, operator: Operator, step_size: Tensor, rho: Tensor) -> Tensor:
        r = x - step_size * operator.A_adjoint(operator.A(x) - y)
        return r + self.tail_conv(self.res_blocks(self.head_conv(torch.cat([r, rho.expand_as(r[:, :1])], dim=1))))


class ISTANetPP(nn.Module):
    """ISTA-Net++, ``estimator(y, operator) -> x_hat``; 760 220 parameters at the default size.

    The whole image is processed at once, across the blocks of the operator, and as published with the
    pad that completes the blocks at the border; the pad is cropped at the end. The network is
    conditioned on the compression ratio ``operator.ratio`` (a fraction); for an operator without one,
    on measurements per pixel. As published it has 20 unfolded phases and 32 feature channels.

    Args:
        image_channels: C of the images: 1, or 3 for colour, which all convolutions see together.
    Raises: ValueError: a size below 1."""

    published_sizes: ClassVar = ("n_phases", "channels")  # parameters that the shapes of published weights determine

    def __init__(self, n_phases: Count = 20, channels: Count = 32, image_channels: Count = 1) -> None:
        super().__init__()
        if min(n_phases, channels, image_channels) < 1:
            sizes = f"n_phases={n_phases}, channels={channels} and image_channels={image_channels}"
            raise ValueError(f"{sizes} have to be at least 1")
        self.n_phases, self.channels, self.image_channels = n_phases, channels, image_channels
        self.phases = nn.ModuleList(Phase(channels, image_channels) for _ in range(n_phases))
        hidden = (nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.condition = nn.Sequential(*hidden, nn.Linear(32, 2 * n_phases), nn.Softplus())

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Reconstruct images (B, C, H, W) from measurements y; x_hat is not clipped."""
        inner = operator.uncropped() if isinstance(operator, SizedOperator) else operator
        step = step_of(operator)
        x = step * inner.A_adjoint(y)
        ratio = getattr(operator, "ratio", None) or y[0].numel() / x[0].numel()
        parameters = self.condition(torch.full((1,), float(ratio), dtype=x.dtype, device=x.device))
        step_sizes, rhos = step * parameters[: self.n_phases], parameters[self.n_phases :]
        for k, phase in enumerate(self.phases):
            x = unfolded(phase, x, y, inner, step_sizes[k], rhos[k])
        return operator.crop(x) if isinstance(operator, SizedOperator) else x
