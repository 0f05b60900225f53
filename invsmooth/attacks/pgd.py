"""l2 projected gradient ascent on the reconstruction error (SPEC section 5; paper eq. 2)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from invsmooth.attacks.attack import AttackResult, Precision, attack
from invsmooth.attacks.ball import TINY, norm, project, steepest
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.search import Ascent, Init, Keep, better_of
from invsmooth.attacks.subspace import best_in_span
from invsmooth.attacks.targets import BASE, Target
from invsmooth.core.callbacks import Progress, told
from invsmooth.core.numpy_too import numpy_too
from invsmooth.core.parameters import Whole
from invsmooth.core.rng import ImageKeys
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True)
class PGD(Ascent):
    """xi <- P_eps(xi + r g / ||g||), g the gradient of the image's own loss.

    Attributes:
        step_size: r, in the unit of eps. None: 2.5 eps / n_iter for ``schedule="constant"`` (Madry
            et al. 2018); for ``"cosine"`` 2 eps, and 8 eps with a history.
        schedule: ``"constant"`` steps (the paper), or ``"cosine"``: r decays to 0. 20 gradients
            with decaying steps are as strong as 150 with constant ones, without a history.
        normalize: False takes the paper's literal step xi + r g. It hardly moves, since the loss is
            divided by n.
        history: with k >= 2, each step starts at the maximiser of a quadratic model through the last
            k gradients (:mod:`invsmooth.attacks.subspace`) instead of at xi, follows the model's
            gradient there, and goes no farther from xi than r. 0, 1: plain PGD. With many
            gradients, keep the best: of 20, the last one lost 1 dB in 1 of 24 patches.
        keep: return the ``"best"`` of all iterates, or the ``"last"`` one (the paper).
    Raises: ValueError: a parameter outside its range, or ``normalize=False`` without a step size.
    """

    name: ClassVar[str] = "pgd"
    schedule: Schedule = "constant"
    normalize: bool = True
    keep: Keep = "best"
    history: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.normalize and self.step_size is None:
            why = "the literal step has no natural length; set step_size"
            raise ValueError(f"step_size=None is not allowed with normalize=False: {why}")

    def step_sizes(self, eps: float) -> list[float]:
        """Length of each of the ``n_iter`` steps."""
        if self.schedule == "constant":
            return [2.5 * eps / self.n_iter if self.step_size is None else self.step_size] * self.n_iter
        initial = (8 if self.history > 1 else 2) * eps if self.step_size is None else self.step_size
        return [initial * (1 + math.cos(math.pi * t / self.n_iter)) / 2 for t in range(self.n_iter)]

    def ascend(self, objective: Objective, start: Tensor, eps: float, final_loss: bool = True) -> tuple[Tensor, Tensor]:
        xi, best_xi, best_loss, loss = start, start, None, None
        points: deque[Tensor] = deque(maxlen=self.history)
        gradients: deque[Tensor] = deque(maxlen=self.history)
        for step in self.step_sizes(eps):
            loss, gradient = objective.value_and_gradient(xi)
            best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
            points.append(xi)
            gradients.append(gradient)
            foot = xi
            if len(points) > 1:
                foot, gradient = best_in_span(points, gradients, eps)
            move = step * (steepest(gradient) if self.normalize else gradient)
            new = project(foot + move, eps)
            if len(points) > 1:
                # Between points that are close together, rounding makes the model wild: go no farther than the step.
                new = xi + (new - xi) * (norm(move) / norm(new - xi).clamp_min(TINY)).clamp_max(1.0)
            xi = new
        if final_loss or self.keep == "best":
            with torch.no_grad():
                loss = objective.value(xi)
        assert loss is not None
        return (xi, loss) if self.keep == "last" else better_of(xi, loss, best_xi, best_loss)


@numpy_too("x", "b")
def pgd(
    estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None = None, *, eps: float, n_iter: int,
    step_size: float | None = None, schedule: Schedule = "constant", normalize: bool = True, init: Init = "zero",
    keep: Keep = "best", history: int = 0, restarts: int = 1, target: Target = BASE, precision: Precision = "auto",
    seed: int = 0, image_keys: ImageKeys | None = None, progress: Progress | bool = False,
) -> AttackResult:  # fmt: skip
    """:func:`invsmooth.attacks.attack` with :class:`PGD`, which documents the other arguments. x and b may be NumPy arrays;
    the arrays of the result then are, too. progress: True shows a bar; a function is called as ``progress(done, total)``,
    in reconstructions."""
    search = PGD(
        n_iter=n_iter, step_size=step_size, schedule=schedule, normalize=normalize, init=init, keep=keep,
        history=history, restarts=restarts,
    )  # fmt: skip
    with told(estimator, progress, len(x) * (n_iter * restarts * target.passes(x)[0] + 1)) as watched:
        return attack(
            search, watched, operator, x, b, eps=eps, target=target, precision=precision, seed=seed,
            image_keys=image_keys,
        )  # fmt: skip
