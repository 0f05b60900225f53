"""Auto-PGD (Croce & Hein 2020, Algorithm 1)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from invsmooth.attacks.attack import AttackResult, Precision, attack
from invsmooth.attacks.ball import per_image, project, steepest
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.search import Ascent, Init, better_of, is_better
from invsmooth.attacks.targets import BASE, Target
from invsmooth.core.callbacks import Progress, told
from invsmooth.core.numpy_too import numpy_too
from invsmooth.core.rng import ImageKeys
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

MOMENTUM = 0.75  # alpha: weight of the new step; the last move has the rest
RISES = 0.75  # rho: the step size halves if the loss rose in a smaller part of the steps since the last check


@dataclass(frozen=True, kw_only=True)
class APGD(Ascent):
    """Gradient ascent with momentum; the step size halves when progress stops. It has nothing to
    tune and cross-checks PGD. It returns the best iterate.

    Attributes:
        step_size: of the first steps, in the unit of eps. None: 2 eps, as published."""

    name: ClassVar[str] = "apgd"

    def ascend(self, objective: Objective, start: Tensor, eps: float, final_loss: bool = True) -> tuple[Tensor, Tensor]:
        """Every image has its own step size."""
        loss, gradient = objective.value_and_gradient(start)
        xi = last = best_xi = start
        best_loss, best_gradient = loss, gradient
        step = torch.full_like(loss, 2 * eps if self.step_size is None else self.step_size)
        since = {w: w - v for v, w in itertools.pairwise(checkpoints(self.n_iter))}
        rises, halved, best_before = torch.zeros_like(loss), torch.zeros_like(loss, dtype=torch.bool), loss
        for t in range(1, self.n_iter + 1):
            stepped = project(xi + per_image(step, xi) * steepest(gradient), eps)
            weight = MOMENTUM if t > 1 else 1.0
            xi, last = project(xi + weight * (stepped - xi) + (1 - weight) * (xi - last), eps), xi
            before = loss
            if t < self.n_iter:
                loss, gradient = objective.value_and_gradient(xi)
            else:
                with torch.no_grad():
                    loss = objective.value(xi)
            rises = rises + (loss > before)
            best_gradient = torch.where(per_image(is_better(loss, best_loss), xi), gradient, best_gradient)
            best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
            if t in since:
                halved = (rises < RISES * since[t]) | (~halved & (best_loss <= best_before))
                step = torch.where(halved, step / 2, step)
                # Go on from the best point, with the gradient that is known there.
                xi = torch.where(per_image(halved, xi), best_xi, xi)
                gradient = torch.where(per_image(halved, xi), best_gradient, gradient)
                loss = torch.where(halved, best_loss, loss)
                rises, best_before = torch.zeros_like(rises), best_loss
        return best_xi, best_loss


def checkpoints(n_iter: int) -> list[int]:
    """The iterations after which the step size is judged: ceil(p_j n_iter), p_0 = 0, p_1 = 0.22,
    p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06). Those >= n_iter change nothing: left out."""
    fractions = [0.0, 0.22]
    while fractions[-1] < 1:
        fractions.append(fractions[-1] + max(fractions[-1] - fractions[-2] - 0.03, 0.06))
    return sorted({w for p in fractions if (w := math.ceil(p * n_iter - 1e-9)) < n_iter})


@numpy_too("x", "b")
def apgd(
    estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None = None, *, eps: float, n_iter: int,
    step_size: float | None = None, init: Init = "zero", restarts: int = 1, target: Target = BASE,
    precision: Precision = "auto", seed: int = 0, image_keys: ImageKeys | None = None,
    progress: Progress | bool = False,
) -> AttackResult:  # fmt: skip
    """:func:`invsmooth.attacks.attack` with :class:`APGD`, which documents the other arguments. Arrays and progress:
    see :func:`invsmooth.attacks.pgd`."""
    search = APGD(n_iter=n_iter, step_size=step_size, init=init, restarts=restarts)
    with told(estimator, progress, len(x) * (n_iter * restarts * target.passes(x)[0] + 1)) as watched:
        return attack(
            search, watched, operator, x, b, eps=eps, target=target, precision=precision, seed=seed,
            image_keys=image_keys,
        )  # fmt: skip
