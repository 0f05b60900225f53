"""A network as it runs in bfloat16: what ``certify.precision=bf16`` attacks and certifies."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from invsmooth.operators.base import Operator

Precision = Literal["fp32", "bf16"]


class InBFloat16(nn.Module):
    """``estimator(y, operator)`` with convolutions and matrix products in bfloat16 (autocast); the
    weights stay as they are. It is another function than the estimator in float32, and so has its own
    certificates. It has no proven Lipschitz constant: that one is of the exact function."""

    def __init__(self, estimator: nn.Module) -> None:
        super().__init__()
        self.estimator = estimator

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        with torch.autocast(y.device.type, torch.bfloat16):
            x_hat: Tensor = self.estimator(y, operator)
        return x_hat


def as_run(estimator: Any, precision: Precision) -> Any:
    """The estimator as it runs in this precision."""
    return InBFloat16(estimator) if precision == "bf16" else estimator
