"""A lower bound of a Lipschitz constant, by search for two inputs that f moves apart.

Power iteration from a measurement finds the direction that f stretches most there. From that pair both ends move by
L-BFGS, to increase ||f(u) - f(v)|| / ||u - v||. Everything is in float64. What is found is a proof that the constant is
at least so large; that nothing larger is found proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from invsmooth.core.errors import NotFiniteError, PremiseError
from invsmooth.core.rng import standard_normal

Map = Callable[[Tensor], Tensor]
"""Inputs (B, …) to images (B, C, H, W), float64."""

ROUNDING = 1e-6
"""Relative error of f(u) that does not count: a network may compute in single precision inside."""
STEPS = (1e-2, 1e-1, 1.0)
"""||u - v|| / ||u|| of the restarts in turn."""
SMALL_STEP = 1e-3
"""The same of the power iteration: small, yet far above single precision."""


@dataclass(frozen=True)
class Pair:
    """Two inputs and how far f moves them apart.

    Attributes:
        u, v: shape (1, …), float64.
        moved, distance: ||f(u) - f(v)|| as computed, and ||u - v||.
        error: by how much f(u), or f(v), may be wrong: ``rho`` (f is solved to a tolerance) and rounding in single
            precision, l2."""

    u: Tensor
    v: Tensor
    moved: float
    distance: float
    error: float

    @property
    def ratio(self) -> float:
        return self.moved / self.distance if self.distance > 0 else 0.0

    @property
    def lower_bound(self) -> float:
        """What the constant of f is at least: (moved - 2 error) / distance. A constant below it is refuted."""
        return max(0.0, self.moved - 2 * self.error) / self.distance if self.distance > 0 else 0.0


@dataclass(frozen=True)
class Search:
    """The best pair of some starts.

    Attributes:
        lower_bounds: of the best pair of each start.
        evaluations: of f, each counted for one input."""

    best: Pair
    lower_bounds: tuple[float, ...]
    evaluations: int

    def __or__(self, other: Search) -> Search:
        best = max(self.best, other.best, key=lambda pair: pair.lower_bound)
        return Search(best, self.lower_bounds + other.lower_bounds, self.evaluations + other.evaluations)


def search(
    f: Map, u: Tensor, *, n_iter: int = 20, n_steps: int = 40, number: int = 0, seed: int = 0, key: str | int = 0,
    rho: float = 0.0,
) -> Search:  # fmt: skip
    """Search from one input.

    Args:
        u: shape (1, …), float64.
        n_iter: power iterations. Each evaluates f twice.
        n_steps: evaluations of the quotient by L-BFGS, at most about so many. Each evaluates f twice.
        number: of the restart. Each has its own random direction and length of step.
        key: of the input. The direction depends on seed, key and number alone.
        rho: by how much f may be wrong near u, see :class:`Pair`.
    Raises: PremiseError: f has no gradient. NotFiniteError: f is not finite somewhere."""
    direction = standard_normal(u.shape, seed, "audit", key, number).to(u)
    length = float(u.norm()) or 1.0
    direction = top_direction(f, u, direction, SMALL_STEP * length, n_iter)
    step = direction * (STEPS[number % len(STEPS)] * length / 2)
    found = search_from(f, u + step, u - step, n_steps=n_steps, rho=rho)
    return replace(found, evaluations=found.evaluations + 2 * n_iter)


def top_direction(f: Map, u: Tensor, direction: Tensor, length: float, n_iter: int) -> Tensor:
    """A unit vector that f stretches most around u: power iteration of JᵀJ, with J the slope of f between u + h and
    u - h, ||h|| = length/2, so that no forward derivative is needed."""
    direction = direction / direction.norm()
    for _ in range(n_iter):
        step = direction * (length / 2)
        _, gradient_u, gradient_v = slopes(f, u + step, u - step)
        pulled = gradient_u - gradient_v
        if float(pulled.norm()) == 0:  # f is constant here
            break
        direction = pulled / pulled.norm()
    return direction


def search_from(f: Map, u: Tensor, v: Tensor, *, n_steps: int, rho: float = 0.0) -> Search:
    """The best of the pairs that L-BFGS meets on its way up from (u, v), evaluated once more.

    It moves the middle c and half the difference d, in units of the first d, and increases
    log ||f(c + d) - f(c - d)|| - log ||2 d||."""
    unit, best, n_used = float((u - v).norm()) / 2 or 1.0, evaluated(f, u, v, rho), 1
    error = best.error

    def objective(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, n_used
        c, d = torch.from_numpy(numbers * unit).to(u.device).view(2, *u.shape)
        moved, gradient_u, gradient_v = slopes(f, c + d, c - d)
        n_used += 1
        pair = Pair(c + d, c - d, moved, float((2 * d).norm()), error)
        best = max(best, pair, key=lambda p: p.lower_bound)
        if moved == 0 or pair.distance == 0:
            return 0.0, np.zeros_like(numbers)
        up = torch.stack([gradient_u + gradient_v, gradient_u - gradient_v]) / moved
        up[1] -= d / d.square().sum()
        return float(np.log(pair.distance / moved)), -up.flatten().cpu().numpy() * unit

    start = torch.stack([(u + v) / 2, (u - v) / 2]).flatten().cpu().numpy() / unit
    minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxfun": n_steps, "maxiter": n_steps})
    final = evaluated(f, best.u, best.v, rho)
    return Search(final, (final.lower_bound,), 2 * (n_used + 1))


def evaluated(f: Map, u: Tensor, v: Tensor, rho: float = 0.0) -> Pair:
    """The pair with what f makes of it, evaluated one by one."""
    with torch.no_grad():
        there, here = f(u), f(v)
    rounding = ROUNDING * float(torch.maximum(there.norm(), here.norm()))
    return Pair(u, v, finite(there - here), float((u - v).norm()), rho + rounding)


def slopes(f: Map, u: Tensor, v: Tensor) -> tuple[float, Tensor, Tensor]:
    """||f(u) - f(v)||, and its gradients in u and v. Raises: PremiseError, NotFiniteError."""
    both = torch.cat([u, v]).detach().requires_grad_()
    with torch.enable_grad():
        there, here = f(both)
        moved = torch.linalg.vector_norm(there - here)
        if not moved.requires_grad:
            raise PremiseError("the estimator has no gradient in its measurements; the search needs one")
        (gradient,) = torch.autograd.grad(moved, both)
    finite(gradient)
    return finite(moved.detach()), gradient[:1], gradient[1:]


def finite(value: Tensor) -> float:
    """The l2 norm. Raises: NotFiniteError: it is nan or inf."""
    size = float(value.norm())
    if not np.isfinite(size):
        raise NotFiniteError("the estimator, or its gradient, is not finite near a measurement")
    return size
