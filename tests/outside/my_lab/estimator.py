"""A small residual network."""

import torch
from torch import Tensor, nn

from invsmooth.operators import Operator


class TinyNet(nn.Module):
    """A^T y plus a correction by two convolutions.

    Args:
        width: channels between them.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        x = operator.A_adjoint(y)
        return x + self.tail(torch.relu(self.head(x)))
