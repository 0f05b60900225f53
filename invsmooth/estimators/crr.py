"""Denoising with a learned convex regulariser."""

from __future__ import annotations

import torch
from torch import Tensor

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.ridge_regulariser import ConvexRidge
from invsmooth.estimators.variational import Variational
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity


class CRR(Variational):
    """x_hat = argmin ||x - y||²/2 + R(x): the proximal map of a learned convex ridge regulariser, for A = I.

    Proximal maps of convex functions are firmly nonexpansive (Moreau 1965): the Lipschitz constant is
    1, whatever the weights.

    Args:
        n_filters, kernel_size, strength, threshold: of :class:`ConvexRidge`.
        tolerance, max_iter: see :class:`Variational`.
    Raises: ValueError: a parameter outside its range."""

    def __init__(
        self, n_filters: Count = 32, kernel_size: Count = 7, strength: Positive = 5.0, threshold: Positive = 0.002,
        tolerance: Positive = 1e-4, max_iter: Count = 5000,
    ) -> None:  # fmt: skip
        super().__init__(ConvexRidge(n_filters, kernel_size, strength, threshold), 0.0, tolerance, max_iter)

    def mu(self) -> Tensor:
        return torch.zeros((), dtype=torch.float64)

    def check_operator(self, operator: Operator) -> None:
        if not isinstance(operator, Identity):
            raise NoConstant(f"crr is a denoiser (A = I), not for {type(operator).__name__}; use estimator=equilibrium")

    def lipschitz(self, operator: Operator) -> float:
        self.check_operator(operator)
        return 1.0
