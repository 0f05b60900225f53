"""l2 projected gradient ascent on the reconstruction error (SPEC section 5; paper eq. 2)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from invsmooth.attacks.ball import on_sphere, project, steepest
from invsmooth.attacks.objectives import Objective, ReconstructionError
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.operators.base import Operator
from invsmooth.rng import generator_for

SCHEDULES = ("constant", "cosine")
INITS = ("zero", "sphere")
KEEPS = ("best", "last")


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        xi: perturbations, shape (B, C, H, W), ||xi|| <= eps per image, [0, 1] pixel scale.
        loss: attacked loss of each image at ``xi``, shape (B,).
        grad_evals: gradients taken for each image.
        network_evals: forward passes of the network for each image, those of the gradients included.
    """

    xi: Tensor
    loss: Tensor
    grad_evals: int
    network_evals: int


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
    seed: int = 0,
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
        seed: of the random starts.
    Raises:
        ValueError: a value outside its range, or an estimator that is not differentiable in its input.
        FloatingPointError: the loss of an image is not finite.
    """
    # Lightning's test loop runs in inference mode, whose tensors autograd refuses: leave it, and copy what came from it.
    with torch.inference_mode(False), torch.enable_grad(), frozen(estimator):
        x = x.clone() if x.is_inference() else x
        b = b.clone() if b is not None and b.is_inference() else b
        objective = ReconstructionError(estimator, operator, x, b)
        return maximise(
            objective, x, eps=eps, n_iter=n_iter, step_size=step_size, schedule=schedule, normalize=normalize, init=init,
            keep=keep, restarts=restarts, seed=seed,
        )  # fmt: skip


def maximise(
    objective: Objective,
    like: Tensor,
    *,
    eps: float,
    n_iter: int,
    step_size: float | None = None,
    schedule: str = "constant",
    normalize: bool = True,
    init: str = "zero",
    keep: str = "best",
    restarts: int = 1,
    seed: int = 0,
    start: Tensor | None = None,
) -> AttackResult:
    """The search of :func:`pgd` for any objective; ``like`` gives shape, dtype and device of xi.

    Args beyond those of :func:`pgd`:
        start: where the first search begins instead of ``init``, shape of xi; projected on the ball.
    """
    check_settings(eps, n_iter, step_size, schedule, normalize, init, keep, restarts)
    if eps == 0:
        with torch.no_grad():
            return AttackResult(torch.zeros_like(like), checked(objective.value(torch.zeros_like(like))), 0, 1)
    steps = step_sizes(eps, n_iter, step_size, schedule)
    best_xi, best_loss = torch.zeros_like(like), like.new_full((len(like),), -math.inf)
    for search in range(restarts):
        if start is not None and search == 0:
            xi = project(start, eps)
        elif init == "sphere" or search > 0:
            xi = on_sphere(like, eps, generator_for(seed, "attack", search))
        else:
            xi = torch.zeros_like(like)
        xi, loss = ascend(objective, xi, eps=eps, steps=steps, normalize=normalize, keep=keep)
        better = ~(loss <= best_loss)
        best_xi = torch.where(better.view(-1, *[1] * (like.ndim - 1)), xi, best_xi)
        best_loss = torch.where(better, loss, best_loss)
    return AttackResult(best_xi, checked(best_loss), n_iter * restarts, (n_iter + 1) * restarts)


def check_settings(
    eps: float,
    n_iter: int,
    step_size: float | None,
    schedule: str,
    normalize: bool,
    init: str,
    keep: str,
    restarts: int,
) -> None:
    """Raises ValueError: a setting of an attack outside its range."""
    if not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"eps={eps} has to be a finite number >= 0")
    if n_iter < 1 or restarts < 1:
        raise ValueError(f"n_iter={n_iter} and restarts={restarts} have to be at least 1")
    if not normalize and step_size is None:
        raise ValueError("normalize=False needs a step_size: the literal step has no natural length")
    for name, value, allowed in (("schedule", schedule, SCHEDULES), ("init", init, INITS), ("keep", keep, KEEPS)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r} is none of {', '.join(allowed)}")


def step_sizes(eps: float, n_iter: int, step_size: float | None, schedule: str) -> list[float]:
    """Length of each of the ``n_iter`` steps; see :func:`pgd`."""
    if schedule == "constant":
        return [2.5 * eps / n_iter if step_size is None else step_size] * n_iter
    initial = 2 * eps if step_size is None else step_size
    return [initial * (1 + math.cos(math.pi * t / n_iter)) / 2 for t in range(n_iter)]


def ascend(
    objective: Objective, xi: Tensor, *, eps: float, steps: Iterable[float], normalize: bool, keep: str
) -> tuple[Tensor, Tensor]:
    """Projected gradient ascent from ``xi``: one gradient for each of ``steps`` and one more forward pass at the end.

    Returns: the xi kept, shape (B, C, H, W), and its loss, shape (B,).
    """
    best_xi, best_loss = xi, None
    for step in steps:
        loss, gradient = objective.value_and_gradient(xi)
        best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
        xi = project(xi + step * (steepest(gradient) if normalize else gradient), eps)
    with torch.no_grad():
        loss = objective.value(xi)
    return (xi, loss) if keep == "last" else better_of(xi, loss, best_xi, best_loss)


def better_of(xi: Tensor, loss: Tensor, best_xi: Tensor, best_loss: Tensor | None) -> tuple[Tensor, Tensor]:
    """Image by image the perturbation with the larger loss (the newer one on a tie)."""
    if best_loss is None:
        return xi, loss
    # A loss that is not a number wins, so that it is seen at the end instead of vanishing.
    newer = ~(loss < best_loss)
    return torch.where(newer.view(-1, *[1] * (xi.ndim - 1)), xi, best_xi), torch.where(newer, loss, best_loss)


def checked(loss: Tensor) -> Tensor:
    """``loss`` itself, once every image's is finite."""
    bad = (~loss.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise FloatingPointError(f"the attacked loss is not finite for the images at positions {bad} of the batch")
    return loss
