"""l2 projected gradient ascent on the reconstruction error (SPEC section 5; paper eq. 2)."""

from __future__ import annotations

import math
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
        if not (self.eps >= 0 and math.isfinite(self.eps)):
            raise ValueError(f"eps={self.eps} has to be a finite number >= 0")
        if self.n_iter < 1 or self.restarts < 1:
            raise ValueError(f"n_iter={self.n_iter} and restarts={self.restarts} have to be at least 1")
        if not self.normalize and self.step_size is None:
            raise ValueError("normalize=False needs a step_size: the literal step has no natural length")
        for name, allowed in (("schedule", SCHEDULES), ("init", INITS), ("keep", KEEPS)):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"{name}={value!r} is none of {', '.join(allowed)}")

    def step_sizes(self) -> list[float]:
        """Length of each of the ``n_iter`` steps."""
        if self.schedule == "constant":
            return [2.5 * self.eps / self.n_iter if self.step_size is None else self.step_size] * self.n_iter
        initial = 2 * self.eps if self.step_size is None else self.step_size
        return [initial * (1 + math.cos(math.pi * t / self.n_iter)) / 2 for t in range(self.n_iter)]


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
    search = Search(eps, n_iter, step_size, schedule, normalize, init, keep, restarts)
    # Lightning's test loop runs in inference mode, whose tensors autograd refuses: leave it, and copy what came from it.
    with torch.inference_mode(False), torch.enable_grad(), frozen(estimator):
        x = x.clone() if x.is_inference() else x
        b = b.clone() if b is not None and b.is_inference() else b
        return maximise(ReconstructionError(estimator, operator, x, b), x, search, seed=seed)


def maximise(
    objective: Objective, like: Tensor, search: Search, *, seed: int = 0, start: Tensor | None = None
) -> AttackResult:
    """The search of :func:`pgd` for any objective.

    Args:
        objective: the loss of each image as a function of xi.
        like: gives shape (B, C, H, W), dtype and device of xi.
        search: how to search.
        seed: of the random starts.
        start: where the first search begins instead of ``search.init``, shape of xi; projected on the ball.
    """
    eps = search.eps
    if eps == 0:
        with torch.no_grad():
            return AttackResult(torch.zeros_like(like), checked(objective.value(torch.zeros_like(like))), 0, 1)
    best_xi, best_loss = torch.zeros_like(like), like.new_full((len(like),), -math.inf)
    for number in range(search.restarts):
        if start is not None and number == 0:
            xi = project(start, eps)
        elif search.init == "sphere" or number > 0:
            xi = on_sphere(like, eps, generator_for(seed, "attack", number))
        else:
            xi = torch.zeros_like(like)
        xi, loss = ascend(objective, xi, search)
        better = ~(loss <= best_loss)
        best_xi = torch.where(better.view(-1, *[1] * (like.ndim - 1)), xi, best_xi)
        best_loss = torch.where(better, loss, best_loss)
    gradients = search.n_iter * search.restarts
    return AttackResult(best_xi, checked(best_loss), gradients, gradients + search.restarts)


def ascend(objective: Objective, xi: Tensor, search: Search) -> tuple[Tensor, Tensor]:
    """Projected gradient ascent from ``xi``: ``n_iter`` gradients and one more forward pass at the end.

    Returns: the xi kept, shape (B, C, H, W), and its loss, shape (B,).
    """
    best_xi, best_loss = xi, None
    for step in search.step_sizes():
        loss, gradient = objective.value_and_gradient(xi)
        best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
        xi = project(xi + step * (steepest(gradient) if search.normalize else gradient), search.eps)
    with torch.no_grad():
        loss = objective.value(xi)
    return (xi, loss) if search.keep == "last" else better_of(xi, loss, best_xi, best_loss)


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
