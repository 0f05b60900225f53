"""Linear estimators in closed form: a worked example of the estimator interface, and the oracles of the tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from invsmooth.operators.base import Operator


class MatchedFilter(nn.Module):
    """x_hat = A^T y."""

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        return operator.A_adjoint(y)


class Ridge(nn.Module):
    """x_hat = A^T (A A^T + alpha I)^{-1} y = argmin ||A x - y||² + alpha ||x||²: ridge regression, and the Wiener filter
    for a white image prior of variance sigma_b² / alpha.

    The system is solved by conjugate gradients, differentiable in y. Where A has orthonormal rows (denoising, block
    compressed sensing on whole blocks) one iteration is exact: x_hat = A^T y / (1 + alpha).

    Args:
        alpha: regularisation, > 0, in units of ||A||².
        tolerance: stop once every image's residual is below this share of ||y||.
    Raises: ValueError: alpha not positive."""

    def __init__(self, alpha: float = 0.01, n_iter: int = 100, tolerance: float = 1e-6) -> None:
        super().__init__()
        if alpha <= 0:
            raise ValueError(f"alpha={alpha} has to be positive")
        self.alpha, self.n_iter, self.tolerance = alpha, n_iter, tolerance

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))

        z, residual, direction = torch.zeros_like(y), y, y
        squared = dot(residual, residual)
        target = self.tolerance**2 * squared.detach()
        for _ in range(self.n_iter):
            if bool((squared <= target).all()):
                break
            image = operator.A(operator.A_adjoint(direction)) + self.alpha * direction
            # The floors only matter for images that are already solved: 0/0 would spread nan to them.
            step = squared / dot(direction, image).clamp_min(1e-30)
            z, residual = z + step * direction, residual - step * image
            squared, previous = dot(residual, residual), squared
            direction = residual + squared / previous.clamp_min(1e-30) * direction
        return operator.A_adjoint(z)
