"""A network that needs a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invsmooth.operators.base import Operator

TOKEN = "SECRETtoken"


class Net(nn.Module):
    """x_hat = gain · A^T y. Raises ValueError, which names the token, if it is another one, or if it is to fail."""

    def __init__(self, token: str, fails: bool = False) -> None:
        super().__init__()
        if token != TOKEN or fails:
            raise ValueError(f"the server refuses the token {token} at https://me:SECRETpassword@host/")
        self.gain = nn.Parameter(torch.tensor(0.9))

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        return self.gain * operator.A_adjoint(y)
