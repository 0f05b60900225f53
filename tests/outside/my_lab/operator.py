"""Every k-th row of an image is measured."""

import torch
from torch import Tensor

from invsmooth.operators import LinearOperator


class RowMask(LinearOperator):
    """y has the shape of x. Rows 0, every, 2·every, … are those of x; all others are 0.

    Args:
        every: distance of the measured rows, >= 1.
    """

    def __init__(self, every: int = 2) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every} has to be at least 1")
        self.every = every

    def A(self, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[-2], device=x.device) % self.every == 0
        return x * rows[:, None]

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.A(y)  # A is diagonal
