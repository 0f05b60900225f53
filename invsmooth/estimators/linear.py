"""Linear estimators in closed form: a worked example of the estimator interface, and the oracles of the tests. Each has a
Lipschitz constant (:mod:`invsmooth.lipschitz.constants`)."""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant, NotConverged, PremiseError
from invsmooth.core.parameters import Count, Positive, check_parameters
from invsmooth.lipschitz.constants import operator_norm_bound
from invsmooth.lipschitz.norms import MARGIN
from invsmooth.lipschitz.rounding import largest_norm, product_rounding
from invsmooth.operators.base import Operator
from invsmooth.operators.block_gaussian import BlockGaussian
from invsmooth.operators.identity import Identity


class IdentityEstimator(nn.Module):
    """x_hat = y, for A = I: the noisy image itself. Its constant is 1."""

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Raises: PremiseError: A is not the identity."""
        self.check_operator(operator)
        return y

    def lipschitz(self, operator: Operator) -> float:
        self.check_operator(operator)
        return 1.0

    def check_operator(self, operator: Operator) -> None:
        if not isinstance(operator, Identity):
            raise PremiseError(
                f"estimator=identity answers with the measurement: it is for operator=identity, not for "
                f"{type(operator).__name__} (try estimator=matched_filter)"
            )


class MatchedFilter(nn.Module):
    """x_hat = A^T y. Its constant is ||A||, and ||A||² in signal space."""

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        return operator.A_adjoint(y)

    def lipschitz(self, operator: Operator) -> float:
        return operator_norm_bound(operator)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """Rounding of A^T y for block operators; how those from elsewhere compute is not known."""
        if not isinstance(operator, BlockGaussian):
            return 0.0
        return product_rounding(operator.phi, len(operator.phi), largest_norm(y, eps))


class Ridge(nn.Module):
    """x_hat = A^T (A A^T + alpha I)^{-1} y = argmin ||A x - y||² + alpha ||x||²: ridge regression, and the Wiener filter
    for a white image prior of variance sigma_b² / alpha.

    The system is solved by conjugate gradients, differentiable in y. Where A has orthonormal rows (denoising, block
    compressed sensing on whole blocks) one iteration is exact: x_hat = A^T y / (1 + alpha).

    Constants: A has singular values s; those of the estimator are s/(s² + alpha), in signal space s²/(s² + alpha).

    Args:
        alpha: regularisation, > 0, in units of ||A||².
        tolerance: stop once every image's residual is below this share of ||y||.
    Raises: ValueError: a parameter outside its range."""

    def __init__(self, alpha: Positive = 0.01, n_iter: Count = 100, tolerance: Positive = 1e-6) -> None:
        super().__init__()
        check_parameters(Ridge, {"alpha": alpha, "n_iter": n_iter, "tolerance": tolerance})
        self.alpha, self.n_iter, self.tolerance = alpha, n_iter, tolerance

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images of the measurements. Raises: NotConverged: in float64, as certificates compute, the system is not solved
        after ``n_iter`` iterations."""

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
        if y.dtype == torch.float64:
            self.check_solved(z.detach(), y.detach(), operator)
        return operator.A_adjoint(z)

    @torch.no_grad()
    def check_solved(self, z: Tensor, y: Tensor, operator: Operator) -> None:
        """Of the true residual, from which that of the recursion can differ."""
        left = (y - operator.A(operator.A_adjoint(z)) - self.alpha * z).flatten(1).norm(dim=1)
        share = left / y.flatten(1).norm(dim=1).clamp_min(torch.finfo(y.dtype).tiny)
        if not bool((share <= ACCEPTED * self.tolerance).all()):
            raise NotConverged(
                f"ridge did not converge in {self.n_iter} iterations: the residual is {float(share.max()):.3g} ||y||, and "
                f"tolerance={self.tolerance:g}; raise estimator.n_iter"
            )

    def lipschitz(self, operator: Operator) -> float:
        low, high = singular_values(operator)
        # s/(s² + alpha) increases up to the root of alpha and decreases after it.
        s = torch.tensor(math.sqrt(self.alpha), dtype=torch.float64).clamp(low, high)
        return float((s / (s**2 + self.alpha)).max()) * (1 + MARGIN)

    def lipschitz_signal(self, operator: Operator) -> float:
        _, high = singular_values(operator)
        return float((1 / (1 + self.alpha / high**2)).max()) * (1 + MARGIN)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """With r = y - (A A^T + alpha I) z the exact solution is A^T z + A^T (A A^T + alpha I)^{-1} r: the distance is at
        most the constant times ||r||. A computed ||r|| <= ACCEPTED · tolerance · ||y|| is accepted; the rest up to 2 is
        for rounding, which is far smaller unless alpha < 1e-8 ||A||²."""
        return 2 * self.tolerance * self.lipschitz(operator) * largest_norm(y, eps)


ACCEPTED = 1.5


def singular_values(operator: Operator) -> tuple[Tensor, Tensor]:
    """Intervals (lower ends, upper ends), float64, that together hold every singular value of A, on images of any size
    that the operator takes. Narrow ones for A = I, and for a block operator for one image size (``for_image_size``):
    a block that is partly pad has other singular values than Phi. Else from 0 to the norm, infinity if that is unknown."""
    if isinstance(operator, Identity):
        one = torch.ones(1, dtype=torch.float64)
        return one, one
    if isinstance(operator, BlockGaussian) and operator.image_size is not None:
        sides = [{min(s, operator.block), s % operator.block or operator.block} for s in operator.image_size]
        phi = operator.phi.detach().double()
        found = torch.cat([torch.linalg.svdvals(phi[:, 0, :h, :w].flatten(1)) for h, w in product(*sides)])
        margin = MARGIN * found.max()
        return (found - margin).clamp_min(0), found + margin
    try:
        top = operator_norm_bound(operator)
    except NoConstant:
        top = math.inf
    return torch.zeros(1, dtype=torch.float64), torch.tensor([top], dtype=torch.float64)
