"""Denoising by total variation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant, NotConverged
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.solver import corrected, dot, length, spread
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity

CHECKED_EVERY = 10  # iterations: the gap costs as much as one
ROUNDING = 1e-10  # of the gap in float64, relative to the largest lam TV(x): sums of 10⁵ terms
FLAT = 1e-4
"""Steps between pixels below this count as part of a flat region in derivatives, [0, 1] scale."""


class TV(nn.Module):
    """x_hat = argmin ||x - y||²/2 + lam · TV(x): total-variation denoising (Rudin, Osher and Fatemi 1992), for A = I.

    TV(x) = sum of sqrt((x_{i+1,j} - x_{ij})² + (x_{i,j+1} - x_{ij})²), without differences across the
    border. The proximal map of a convex function has Lipschitz constant 1 (Moreau 1965).

    Solver: accelerated projected gradients on the dual problem (Chambolle 2004; Beck and Teboulle 2009),
    in float64 whatever the type of y. For a dual field p with |p| <= lam let x = y - D^T p. The duality
    gap is sum(lam |D x| - <D x, p>), and ||x - x_hat||² <= 2 gap, since the function is 1-strongly
    convex. An image is solved once sqrt(2 gap) <= tolerance.

    Derivative: that of the function with |d| rounded off below FLAT, at the solution, one linear system
    (I + D^T H D) v = g. It is symmetric, so forward and backward are the same. Differences of two
    solutions would need them far more accurate, unrolled iterations all their memory.

    Args:
        lam: weight. 0.037 suits noise of sigma_b = 15 grey levels, 0.065 that of 25.
        tolerance: l2 distance to the exact solution over a whole channel, [0, 1] scale.
        max_iter: iterations of the solver, and of a derivative's.
    Raises: ValueError: a parameter that is not positive."""

    def __init__(self, lam: Positive = 0.037, tolerance: Positive = 0.01, max_iter: Count = 20000) -> None:
        super().__init__()
        if not (lam > 0 and math.isfinite(lam) and tolerance > 0 and max_iter >= 1):
            raise ValueError(f"lam={lam} and tolerance={tolerance} have to be positive, max_iter={max_iter} at least 1")
        self.lam, self.tolerance, self.max_iter = lam, tolerance, max_iter

    def check_operator(self, operator: Operator) -> None:
        """Raises: NoConstant: A is not the identity."""
        if not isinstance(operator, Identity):
            raise NoConstant(f"tv is a denoiser (A = I), not for {type(operator).__name__}")

    def lipschitz(self, operator: Operator) -> float:
        self.check_operator(operator)
        return 1.0

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """The tolerance of each channel, and what rounding of the gap adds:
        lam TV(x) <= lam sqrt(8 n) ||x||, ||x|| <= ||y|| + eps."""
        self.check_operator(operator)
        largest = self.lam * math.sqrt(8 * y[0].numel()) * (float(length(y.double()).max()) + eps)
        return math.sqrt(y.shape[1] * self.tolerance**2 + 2 * ROUNDING * largest)

    @torch.compiler.disable
    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images like y (B, C, H, W), each channel denoised on its own.
        Raises: NoConstant: A is not the identity. NotConverged."""
        self.check_operator(operator)
        with torch.autocast(y.device.type, enabled=False):
            noisy = y.double().flatten(0, 1)[:, None]
            with torch.no_grad():
                x = self.solution(noisy.detach()).detach()
            d = differences(x)
            size = d.square().sum(1, keepdim=True).sqrt()
            x = corrected(x, -noisy, curvature, self.max_iter, self.lam / size.clamp_min(FLAT), normal(d, size))
        return x.view_as(y).to(y.dtype)

    def solution(self, y: Tensor) -> Tensor:
        result, left = torch.empty_like(y), torch.arange(len(y), device=y.device)
        p = ahead = y.new_zeros(len(y), 2, *y.shape[-2:])
        t = y.new_ones(len(y))
        distance = t
        for k in range(self.max_iter + 1):
            if k % CHECKED_EVERY == 0 or k == self.max_iter:
                x = y - adjoint(p)
                distance = (2 * self.gap(x, p)).sqrt()
                if bool((done := distance <= self.tolerance).any()):
                    result[left[done]] = x[done]
                    left, y, p, ahead, t, distance = (v[~done] for v in (left, y, p, ahead, t, distance))
                if not len(left):
                    return result
                if not bool(distance.isfinite().all()):
                    break
            # ||D||² <= 8.
            step = ahead + differences(y - adjoint(ahead)) / 8
            step = step / (step.square().sum(1, keepdim=True).sqrt() / self.lam).clamp_min(1)
            t = torch.where(dot(ahead - step, step - p) > 0, 1.0, t)
            following = (1 + (1 + 4 * t.square()).sqrt()) / 2
            ahead = step + spread((t - 1) / following, step) * (step - p)
            p, t = step, following
        raise NotConverged(
            f"tv did not converge in {self.max_iter} iterations: sqrt(2 · duality gap) is {float(distance.max()):.3g} "
            f"where {self.tolerance:.3g} is needed; raise max_iter or tolerance, or check y"
        )

    def gap(self, x: Tensor, p: Tensor) -> Tensor:
        """Duality gap of x = y - D^T p, shape (B,). No term is negative but by rounding."""
        d = differences(x)
        return (self.lam * d.square().sum(1).sqrt() - (d * p).sum(1)).clamp_min(0).flatten(1).sum(1)


def differences(x: Tensor) -> Tensor:
    """D x: forward differences down and to the right, (B, 1, H, W) to (B, 2, H, W); 0 past the border."""
    d = x.new_zeros(len(x), 2, *x.shape[-2:])
    d[:, 0, :-1] = x[:, 0, 1:] - x[:, 0, :-1]
    d[:, 1, :, :-1] = x[:, 0, :, 1:] - x[:, 0, :, :-1]
    return d


def adjoint(p: Tensor) -> Tensor:
    """D^T p, (B, 2, H, W) to (B, 1, H, W)."""
    x = p.new_zeros(len(p), 1, *p.shape[-2:])
    down, right = p[:, 0, :-1], p[:, 1, :, :-1]
    x[:, 0, 1:] += down
    x[:, 0, :-1] -= down
    x[:, 0, :, 1:] += right
    x[:, 0, :, :-1] -= right
    return x


def normal(d: Tensor, size: Tensor) -> Tensor:
    """Unit vectors d / |d|, and 0 where |d| < FLAT."""
    return torch.where(size >= FLAT, d / size.clamp_min(FLAT), 0.0)


def curvature(v: Tensor, weight: Tensor, unit: Tensor) -> Tensor:
    """(I + D^T H D) v, H = weight · (1 - unit unit^T) at each pixel: the Hessian of lam |d|."""
    d = differences(v)
    return v + adjoint(weight * (d - unit * (unit * d).sum(1, keepdim=True)))
