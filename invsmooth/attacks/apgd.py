"""Auto-PGD: gradient ascent with momentum whose step halves where it stops paying (Croce & Hein 2020, Algorithm 1).

The second opinion on :func:`invsmooth.attacks.pgd`: nothing to tune, and another path through the ball.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from invsmooth.attacks.ball import per_image, project, steepest
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.starts import INITS, Found, ImageKeys, best_of_starts, check_choice, check_search, is_better
from invsmooth.attacks.targets import BASE, AttackResult, Target, on_target
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

MOMENTUM = 0.75
"""alpha: weight of the new step; the rest goes to the last move."""
RISES = 0.75
"""rho: the share of the steps between two checkpoints that have to raise the loss, or the step size halves."""


def apgd(
    estimator: Estimator,
    operator: Operator,
    x: Tensor,
    b: Tensor | None = None,
    *,
    eps: float,
    n_iter: int,
    step_size: float | None = None,
    init: str = "zero",
    restarts: int = 1,
    target: Target = BASE,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
) -> AttackResult:
    """As :func:`invsmooth.attacks.pgd`, by Auto-PGD. The best iterate is returned.

    Args:
        estimator, operator, x, b, eps, n_iter, init, restarts, target, seed, image_keys: as for pgd.
        step_size: of the first steps, in the unit of eps. Left out: 2 eps, as published.
    Raises:
        ValueError: a value outside its range, or an estimator that is not differentiable in its input.
        NotFiniteError: the loss of an image is not finite.
    """
    check_search(eps, n_iter, restarts, step_size)
    check_choice("init", init, INITS)
    initial = 2 * eps if step_size is None else step_size

    def search(objective: Objective, like: Tensor) -> Found:
        return best_of_starts(
            objective, like, lambda objective, xi: ascend(objective, xi, eps, n_iter, initial), eps=eps, init=init,
            restarts=restarts, seed=seed, image_keys=image_keys,
        )  # fmt: skip

    return on_target(search, target, estimator, operator, x, b, seed, image_keys)


def checkpoints(n_iter: int) -> list[int]:
    """The iterations after which the step size is judged: ceil(p_j n_iter), p_0 = 0, p_1 = 0.22,
    p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06). The first is 0; those at the end, which change nothing, are left out."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({w for p in shares if (w := math.ceil(p * n_iter - 1e-9)) < n_iter})


def ascend(objective: Objective, start: Tensor, eps: float, n_iter: int, step_size: float) -> tuple[Tensor, Tensor]:
    """Auto-PGD from ``start``: ``n_iter`` gradients and one more forward pass at the end. Every image has its own step size.

    Returns: the best xi, shape (B, C, H, W), and its loss, shape (B,).
    """
    loss, gradient = objective.value_and_gradient(start)
    xi = last = best_xi = start
    best_loss, best_gradient = loss, gradient
    step = torch.full_like(loss, step_size)
    since = {w: w - v for v, w in itertools.pairwise(checkpoints(n_iter))}
    rises, halved, best_before = torch.zeros_like(loss), torch.zeros_like(loss, dtype=torch.bool), loss
    for t in range(1, n_iter + 1):
        stepped = project(xi + per_image(step, xi) * steepest(gradient), eps)
        weight = MOMENTUM if t > 1 else 1.0
        xi, last = project(xi + weight * (stepped - xi) + (1 - weight) * (xi - last), eps), xi
        loss_before = loss
        if t < n_iter:
            loss, gradient = objective.value_and_gradient(xi)
        else:
            with torch.no_grad():
                loss = objective.value(xi)
        rises = rises + (loss > loss_before)
        better = is_better(loss, best_loss)
        best_loss = torch.where(better, loss, best_loss)
        best_xi = torch.where(per_image(better, xi), xi, best_xi)
        best_gradient = torch.where(per_image(better, xi), gradient, best_gradient)
        if t in since:
            halved = (rises < RISES * since[t]) | (~halved & (best_loss <= best_before))
            step = torch.where(halved, step / 2, step)
            # From the best point on, with the gradient that is known there.
            xi = torch.where(per_image(halved, xi), best_xi, xi)
            gradient = torch.where(per_image(halved, xi), best_gradient, gradient)
            loss = torch.where(halved, best_loss, loss)
            rises, best_before = torch.zeros_like(rises), best_loss
    return best_xi, best_loss
