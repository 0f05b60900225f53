"""What every measurement operator offers: A, its adjoint, and the power iteration for its norm."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from invsmooth.core.rng import standard_normal


@runtime_checkable
class Operator(Protocol):
    """The two methods an operator needs. The names are deepinv's, so its linear physics can be passed as they are."""

    def A(self, x: Tensor) -> Tensor: ...

    def A_adjoint(self, y: Tensor) -> Tensor: ...


class LinearOperator(nn.Module):
    """A noiseless linear measurement operator, y = A x (noise b is added outside: y = operator.A(x) + b).

    Matrices are buffers, so ``operator.to(device)`` moves them.
    """

    ratio: float = 1.0
    """Compression ratio m/n: what a network that is conditioned on the ratio gets."""

    def A(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has to define A(x)")

    def A_adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has to define A_adjoint(y)")

    def forward(self, x: Tensor) -> Tensor:
        return self.A(x)


@torch.no_grad()
def operator_norm(operator: Operator, image_shape: tuple[int, int], n_iter: int = 50) -> float:
    """Spectral norm ||A|| on images of ``image_shape`` (H, W), by power iteration on A^T A. A lower bound that tightens
    with ``n_iter``; exact at once where A has orthonormal rows or is the identity."""
    v = standard_normal((1, 1, *image_shape), 0, "operator norm")
    value = 0.0
    for _ in range(n_iter):
        w = operator.A_adjoint(operator.A(v / v.norm()))
        value, v = float(w.norm()), w
        if value == 0:
            return 0.0
    return value**0.5
