"""Denoising: A = I."""

from __future__ import annotations

from torch import Tensor

from invsmooth.operators.base import LinearOperator


class Identity(LinearOperator):
    """A = I: the measurement is the image itself (plus b)."""

    name = "identity"

    def A(self, x: Tensor) -> Tensor:
        return x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y

    def norm(self) -> float:
        return 1.0
