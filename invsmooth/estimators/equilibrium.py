"""Reconstruction for any linear operator with a learned convex regulariser and a proven constant."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.ridge_regulariser import ConvexRidge
from invsmooth.estimators.variational import Variational
from invsmooth.lipschitz.constants import operator_norm_bound
from invsmooth.lipschitz.norms import MARGIN
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity


class Equilibrium(Variational):
    """x_hat with A^T (A x_hat - y) + grad R(x_hat) + mu (x_hat - centre) = 0, R a learned convex ridge regulariser.

    Constant (measurement space): let dx, dy be the differences of two such points and their y. The inner
    product of the differences of both equations with dx gives ||A dx||² + mu ||dx||² <= ||A dx|| ||dy||.
    With t = ||A dx|| / ||dx|| <= ||A|| this is ||dx|| <= t / (t² + mu) ||dy||, so

        L = t / (t² + mu) at t = min(sqrt(mu), ||A||),    at most 1 / (2 sqrt(mu)).

    For A = I: t = 1, L = 1 / (1 + mu). In signal space ||dy|| = ||A dz|| <= ||A|| ||dz||; where R is any
    convex function, L ||A|| cannot be improved (A of rank one, R that leaves x one direction).

    Args:
        mu: initial value, > 0; learned. A larger mu gives a smaller constant.
        centre: the grey level that the term mu pulls to; [0, 1] scale, not learned.
        n_filters, kernel_size, strength, threshold: of :class:`ConvexRidge`.
        tolerance, max_iter: see :class:`Variational`.
    Raises: ValueError: mu not positive, or another parameter outside its range."""

    def __init__(
        self, mu: Positive = 0.01, centre: float = 0.5, n_filters: Count = 32, kernel_size: Count = 7,
        strength: Positive = 0.1, threshold: Positive = 0.003, tolerance: Positive = 1e-3, max_iter: Count = 20000,
    ) -> None:  # fmt: skip
        super().__init__(ConvexRidge(n_filters, kernel_size, strength, threshold), centre, tolerance, max_iter)
        if not (mu > 0 and math.isfinite(mu)):
            raise ValueError(f"mu={mu} has to be a finite number > 0: without it there is no constant")
        self.raw_mu = nn.Parameter(torch.tensor(mu + math.log(-math.expm1(-mu))))  # softplus^{-1}(mu)

    def mu(self) -> Tensor:
        # In float64 always: the constant is that of the estimator in float64.
        mu = F.softplus(self.raw_mu.double())
        if not 0 < float(mu.detach()) < math.inf:
            raise NoConstant(f"mu has become {float(mu.detach())}: it has to be a finite number > 0")
        return mu

    def lipschitz(self, operator: Operator) -> float:
        return float(self.lipschitz_tensor(operator).detach())

    def lipschitz_tensor(self, operator: Operator) -> Tensor:
        mu = self.mu()
        if isinstance(operator, Identity):
            return (1 + MARGIN) / (1 + mu)
        t = mu.sqrt().clamp_max(operator_norm_bound(operator))
        return (1 + MARGIN) * t / (t.square() + mu)
