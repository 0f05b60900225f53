"""A small estimator that is neither linear nor smooth."""

from __future__ import annotations

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
