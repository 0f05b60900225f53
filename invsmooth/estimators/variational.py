"""Estimators that minimise a strongly convex function: what the convex ones share."""

from __future__ import annotations

import weakref
from abc import abstractmethod

import torch
from torch import Tensor, nn

from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators import ridge_regulariser as ridge
from invsmooth.estimators.solver import corrected, length, minimise
from invsmooth.lipschitz.constants import operator_norm_bound
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity

ROUNDING = 1e-9
"""Rounding of a gradient in float64, relative to the size of what is added up: enough for 10⁶ terms at each pixel, and for
an A whose absolute values have a norm a thousand times that of A."""
norms: weakref.WeakKeyDictionary[Operator, float] = weakref.WeakKeyDictionary()
"""||A|| of operators. For the length of steps only: that an image is solved is seen by its gradient."""


class Variational(nn.Module):
    """x_hat = argmin ||A x - y||²/2 + R(x) + mu ||x - centre||²/2, R a :class:`ConvexRidge`.

    In float64 x_hat lies within ``tolerance`` (l2, whole image, [0, 1] scale) of the exact minimiser, up
    to rounding (:meth:`inexactness`). In float32, for training and attacks, within about
    max(tolerance, 1e-5 ||x_hat||) where rounding lets it. Autocast is not used inside.

    Differentiable in y and in the weights by the implicit function theorem: a linear system by
    conjugate gradients for each derivative, backward or forward, and derivatives of these."""

    def __init__(self, regulariser: ridge.ConvexRidge, centre: float, tolerance: Positive, max_iter: Count) -> None:
        super().__init__()
        if not (tolerance > 0 and max_iter >= 1):
            raise ValueError(f"tolerance={tolerance} has to be positive, max_iter={max_iter} at least 1")
        self.regulariser, self.centre, self.tolerance, self.max_iter = regulariser, centre, tolerance, max_iter

    @abstractmethod
    def mu(self) -> Tensor:
        """Weight of ||x - centre||²/2, in float64, with a gradient. Raises: NoConstant: it is not positive."""

    def check_operator(self, operator: Operator) -> None:
        """Raises: NoConstant: the estimator is not for this operator."""

    def strong(self, operator: Operator) -> float:
        """The function is strongly convex with this constant."""
        return float(self.mu().detach()) + isinstance(operator, Identity)

    @torch.compiler.disable
    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images (B, C, H, W) of measurements. Raises: NotConverged. NoConstant: no operator for this estimator.
        ValueError: images smaller than the filters."""
        self.check_operator(operator)
        with torch.autocast(y.device.type, enabled=False):
            return self.solution(y.to(torch.promote_types(y.dtype, torch.float32)), operator).to(y.dtype)

    def solution(self, y: Tensor, operator: Operator) -> Tensor:
        mu, centre = self.mu().to(y), self.centre
        parts = self.regulariser.parts(y.dtype)

        def gradient(x: Tensor, y: Tensor, mu: Tensor, *parts: Tensor) -> Tensor:
            return operator.A_adjoint(operator.A(x) - y) + ridge.gradient(x, *parts) + mu * (x - centre)

        def hessian(v: Tensor, slope: Tensor, filters: Tensor, mu: Tensor) -> Tensor:
            return operator.A_adjoint(operator.A(v)) + ridge.hessian(v, slope, filters) + mu * v

        measured, *fixed = (v.detach() for v in (y, mu, *parts))
        with torch.no_grad():
            x = minimise(
                lambda x, rows: gradient(x, measured[rows], *fixed), operator.A_adjoint(measured),
                strong=self.strong(operator), smooth=self.smooth(operator), tolerance=self.tolerance,
                max_iter=self.max_iter, name=type(self).__name__,
            )  # fmt: skip
        x = x.detach()
        return corrected(x, gradient(x, y, mu, *parts), hessian, self.max_iter, ridge.slopes(x, *parts), parts[0], mu)

    def smooth(self, operator: Operator) -> float:
        """An upper bound of the Lipschitz constant of the function's gradient."""
        if operator not in norms:
            norms[operator] = operator_norm_bound(operator)
        return norms[operator] ** 2 + float(self.regulariser.log_strength.detach().exp()) + float(self.mu().detach())

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """rho = tolerance + what rounding of the gradient (float64) may hide, over the strong convexity.

        x_hat is as large as x_bound at most: the function is at most ||A c - y||²/2 at the flat image c of
        value ``centre``, where R is 0, and strong ||x - c||²/2 above that at its minimiser, or less."""
        strong, norm = self.strong(operator), operator_norm_bound(operator)
        c = self.centre * operator.A_adjoint(y[:1]).numel() ** 0.5
        y_bound = float(length(y.double()).max()) + eps
        x_bound = c + (y_bound + norm * c) / min(strong, 1.0) ** 0.5
        filters, _, strength = self.regulariser.parts(torch.float64)
        grows = ridge.rounding_scale(filters.detach(), strength.detach())
        sizes = norm * (norm * x_bound + y_bound) + grows * x_bound + float(self.mu().detach()) * (x_bound + c)
        return self.tolerance + ROUNDING * sizes / strong
