"""l2 projected gradient ascent on the reconstruction error (SPEC section 5; paper eq. 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from invsmooth.attacks.ball import project, steepest
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.starts import (
    INITS,
    KEEPS,
    Found,
    ImageKeys,
    best_of_starts,
    better_of,
    check_choice,
    check_search,
)
from invsmooth.attacks.targets import BASE, AttackResult, Target, on_target
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Search:
    """How PGD searches; the fields are the arguments of :func:`pgd`.

    Raises: ValueError: a field outside its range.
    """

    eps: float
    n_iter: int
    step_size: float | None = None
    schedule: str = "constant"
    normalize: bool = True
    init: str = "zero"
    keep: str = "best"
    restarts: int = 1

    def __post_init__(self) -> None:
        check_search(self.eps, self.n_iter, self.restarts, self.step_size)
        if not self.normalize and self.step_size is None:
            raise ValueError("normalize=False needs a step_size: the literal step has no natural length")
        for name, allowed in (("schedule", SCHEDULES), ("init", INITS), ("keep", KEEPS)):
            check_choice(name, getattr(self, name), allowed)

    def step_sizes(self) -> list[float]:
        """Length of each of the ``n_iter`` steps."""
        if self.schedule == "constant":
            return [2.5 * self.eps / self.n_iter if self.step_size is None else self.step_size] * self.n_iter
        initial = 2 * self.eps if self.step_size is None else self.step_size
        return [initial * (1 + math.cos(math.pi * t / self.n_iter)) / 2 for t in range(self.n_iter)]


def pgd(
    estimator: Estimator,
    operator: Operator,
    x: Tensor,
    b: Tensor | None = None,
    *,
    eps: float,
    n_iter: int,
    step_size: float | None = None,
    schedule: str = "constant",
    normalize: bool = True,
    init: str = "zero",
    keep: str = "best",
    restarts: int = 1,
    target: Target = BASE,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
) -> AttackResult:
    """Look for the xi with ||xi||_2 <= eps that maximises l(f(A(x + xi) + b), x), each image on its own.

    The iteration is xi <- P_eps(xi + r g / ||g||), g the gradient of the image's own loss. The estimator is in eval mode
    with frozen weights meanwhile; no gradient is left on it.

    Args:
        estimator, operator: the reconstruction ``estimator(y, operator)`` that is attacked.
        x: clean images, shape (B, C, H, W), [0, 1] pixel scale.
        b: measurement noise in the shape of y, the same before and after the attack; None for none.
        eps: radius of the l2 ball over one whole image, [0, 1] pixel scale; 0 returns zeros.
        n_iter: gradients for each start.
        step_size: r, in the unit of eps. Left out: 2.5 eps / n_iter for ``schedule="constant"`` (Madry et al. 2018) and
            2 eps for ``"cosine"``.
        schedule: ``"constant"`` steps (the paper), or ``"cosine"``: r decays from its initial value to 0, so that 20
            gradients reach what 150 constant ones do.
        normalize: False takes the paper's literal step xi + r g; with its 1/n-normalised loss that hardly moves.
        init: start at ``"zero"`` (the paper) or uniformly on the ``"sphere"`` of radius eps.
        keep: return the ``"best"`` of all iterates, the last included, or the ``"last"`` one (the paper).
        restarts: starts in all; those after the first are on the sphere, and each image keeps its best.
        target: whose error is maximised: the estimator's own, or the smoothed estimator's.
        seed: of the random starts and of the target's draws.
        image_keys: a name for each image, which seeds what is drawn for it; left out, its position in the batch.
    Raises:
        ValueError: a value outside its range, or an estimator that is not differentiable in its input.
        NotFiniteError: the loss of an image is not finite.
    """
    search = Search(eps, n_iter, step_size, schedule, normalize, init, keep, restarts)
    return on_target(
        lambda objective, like: maximise(objective, like, search, seed=seed, image_keys=image_keys),
        target, estimator, operator, x, b, seed, image_keys,
    )  # fmt: skip


def maximise(
    objective: Objective,
    like: Tensor,
    search: Search,
    *,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
    start: Tensor | None = None,
    final_loss: bool = True,
) -> Found:
    """The search of :func:`pgd` for any objective.

    Args:
        objective, like, seed, image_keys, start: as for :func:`invsmooth.attacks.starts.best_of_starts`.
        search: how to search.
        final_loss: False saves the forward pass after the last step where ``keep="last"`` has no other use for it. The
            loss that comes back is then that of the iterate before.
    """
    return best_of_starts(
        objective, like, lambda objective, xi: ascend(objective, xi, search, final_loss), eps=search.eps, init=search.init,
        restarts=search.restarts, seed=seed, image_keys=image_keys, start=start,
    )  # fmt: skip


def ascend(objective: Objective, xi: Tensor, search: Search, final_loss: bool = True) -> tuple[Tensor, Tensor]:
    """Projected gradient ascent from ``xi``: ``n_iter`` gradients and, unless it is saved, one more forward pass at the end.

    Returns: the xi kept, shape (B, C, H, W), and its loss, shape (B,).
    """
    best_xi, best_loss, loss = xi, None, None
    for step in search.step_sizes():
        loss, gradient = objective.value_and_gradient(xi)
        best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
        xi = project(xi + step * (steepest(gradient) if search.normalize else gradient), search.eps)
    if final_loss or search.keep == "best":
        with torch.no_grad():
            loss = objective.value(xi)
    assert loss is not None
    return (xi, loss) if search.keep == "last" else better_of(xi, loss, best_xi, best_loss)
