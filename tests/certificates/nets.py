"""Small estimators: one that is neither linear nor smooth, one that declares its Lipschitz constant."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ReluNet(nn.Module):
    """y plus a random two-layer ReLU network of all pixels: fast, with a Jacobian that changes from draw to draw."""

    def __init__(self, n: int, width: int = 32, gain: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.second = nn.Linear(n, width), nn.Linear(width, n)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5)
                layer.bias.zero_()
            self.second.weight *= 2 * gain

    def forward(self, y: Tensor, operator: object) -> Tensor:
        flat = y.flatten(1)
        return (flat + self.second(self.first(flat - 0.5).relu())).view_as(y)


class Scaled(nn.Module):
    """scale · A^T y, with the constant that it ``declares`` for A with ||A|| = 1 (left out: the right one), and rho."""

    def __init__(self, scale: float = 1.0, declares: float | None = None, rho: float = 0.0) -> None:
        super().__init__()
        self.scale, self.declares, self.rho = scale, declares, rho

    def forward(self, y: Tensor, operator: Any) -> Tensor:
        return self.scale * operator.A_adjoint(y)

    def lipschitz(self, operator: Any) -> float:
        return (abs(self.scale) if self.declares is None else self.declares) * float(operator.norm())

    def inexactness(self, operator: Any, y: Tensor, eps: float) -> float:
        ASKED.append((y.dtype, len(y), eps))
        return self.rho


ASKED: list[tuple[torch.dtype, int, float]] = []
"""What :meth:`Scaled.inexactness` was asked for, of any copy."""
