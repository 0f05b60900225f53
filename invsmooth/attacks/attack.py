"""Run a search against the error of an estimator."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from invsmooth.attacks.objectives import Objective, ReconstructionError
from invsmooth.attacks.search import Found, Search, check_found
from invsmooth.attacks.targets import BASE, Target
from invsmooth.core.errors import PremiseError
from invsmooth.core.rng import ImageKeys
from invsmooth.estimators.fastest import bf16_pays, fastest
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.premises import Checked, check_is_operator, check_tensor, checked
from invsmooth.operators.base import Operator

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class AttackResult(Found):
    """The result of an attack, and its cost."""

    zero_gradient: Tensor  # (B,): it was zero at every point: the loss says nothing about robustness
    grad_evals: int  # gradients through the network for each image; one for each draw of a smoothed target
    network_evals: int  # forward passes for each image, those of the gradients included
    bf16: bool  # whether xi was searched with the network in bfloat16

    def __repr__(self) -> str:
        losses = ", ".join(f"{loss:.3g}" for loss in self.loss.tolist()[:8])
        return f"<AttackResult: loss (MSE of each image) = {losses}; {self.grad_evals} gradients for each image>"


def attack(
    search: Search, estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None = None, *, eps: float,
    target: Target = BASE, precision: Precision = "auto", seed: int = 0, image_keys: ImageKeys | None = None,
) -> AttackResult:  # fmt: skip
    """Look for the xi with ||xi||_2 <= eps that maximises l(f(A(x + xi) + b), x), each image on its
    own. The estimator is in eval mode with frozen weights meanwhile; no gradient is left on it.

    Args:
        search: how to search: ``PGD``, ``APGD``, ``Noise``, or any class with their two methods.
        estimator, operator: the attacked reconstruction ``estimator(y, operator)``.
        x: clean images, shape (B, C, H, W), [0, 1] pixel scale.
        b: measurement noise in the shape of y, the same before and after the attack; None for none.
        eps: radius of the l2 ball over one whole image, [0, 1] pixel scale; 0 returns zeros.
        target: whose error is maximised.
        precision: of the network while xi is searched. ``"auto"``: bfloat16 where its gradients are faster here and
            point the same way (:func:`invsmooth.estimators.fastest.bf16_pays`). The loss at the result is in float32.
        seed: of the random starts and of the target's draws.
        image_keys: a name for each image, which seeds what is drawn for it; left out, its position
            in the batch.
    Raises:
        ValueError: eps is not in [0, inf), or the estimator is not differentiable in its input.
        PremiseError: see :func:`invsmooth.estimators.premises.checked`; or the search left the ball, or returned
            something else than a :class:`Found`.
        NotFiniteError: the loss of an image is not finite."""
    if isinstance(eps, str | list) or not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"eps={eps!r} is not allowed; allowed: a finite number >= 0")
    # Lightning's test loop runs in inference mode. Autograd refuses its tensors: leave the mode and
    # copy them.
    with torch.inference_mode(False), torch.enable_grad():
        check_tensor("x", x)
        if b is not None:
            check_tensor("b", b)
        x = x.clone() if x.is_inference() else x.detach()
        b = b if b is None else b.clone() if b.is_inference() else b.detach()
        known = check_attacked(estimator, operator, x, b)
        known.check_sigma(target.sigma, known.y)
        counting = Counting(known)
        objective = target.objective(counting, operator, x, b, seed=seed, image_keys=image_keys)
        watched = WithGradient(objective)
        with frozen(known):
            coarse = precision != "fp32" and search.cost(eps, (1, 1), 1)[1] > 0
            if coarse and precision == "auto":
                coarse = bf16_pays(known, gradient_in(known, ReconstructionError(known, operator, x, b)), known.y)
            with known.in_bf16(coarse), fastest(known, operator, known.y):
                found = search.search(watched, x, eps=eps, seed=seed, image_keys=image_keys)
            found = check_found(found, x, eps, search)
            if coarse:
                found = in_float32(found, objective)
    zero = ~torch.as_tensor(watched.moved).cpu().expand(len(x)) & watched.taken
    if where := zero.nonzero().flatten().tolist():
        warnings.warn(
            "the gradient is zero wherever the attack took it: its loss is no sign of robustness "
            f"(images at positions {where} of the batch)", stacklevel=3,
        )  # fmt: skip
    return AttackResult(
        found.xi, found.loss, found.losses, zero.to(found.loss.device), counting.gradients // len(x),
        counting.images // len(x), coarse,
    )  # fmt: skip


def gradient_in(known: Checked, objective: ReconstructionError) -> Callable[[bool], Tensor]:
    """The gradient at xi = 0, in bfloat16 or not."""

    def gradient(coarse: bool) -> Tensor:
        with known.in_bf16(coarse), fastest(known, objective.operator, known.y):
            return objective.value_and_gradient(torch.zeros_like(objective.x))[1]

    return gradient


def in_float32(found: Found, objective: Objective) -> Found:
    """With the loss at xi; that of a single start, too. The losses of several stay those of the search."""
    with torch.no_grad():
        loss = objective.value(found.xi)
    return replace(found, loss=loss, losses=loss[:, None] if found.losses.shape[1] == 1 else found.losses)


def check_attacked(estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None) -> Checked:
    check_is_operator(operator)
    if x.ndim != 4:
        raise PremiseError(f"x has shape {tuple(x.shape)}; give a batch of images, (B, C, H, W): x[None] adds an axis")
    with torch.no_grad():
        y = operator.A(x)
    if b is not None and b.shape != y.shape:
        raise PremiseError(f"b has shape {tuple(b.shape)}, but the measurements of x have {tuple(y.shape)}")
    return checked(estimator, operator, y if b is None else y + b, x)


class WithGradient:
    """Records whether a gradient was taken, and for which images one was not zero."""

    def __init__(self, objective: Objective) -> None:
        self.objective, self.taken = objective, False
        self.moved: Tensor | bool = False  # of each image, on its device: reading it there would wait for the GPU

    def value(self, xi: Tensor) -> Tensor:
        return self.objective.value(xi)

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = self.objective.value_and_gradient(xi)
        self.taken = True
        self.moved = gradient.flatten(1).ne(0).any(1) | self.moved
        return loss, gradient


@dataclass
class Counting:
    estimator: Estimator
    images: int = field(default=0, init=False)
    gradients: int = field(default=0, init=False)

    def __call__(self, y: Tensor, operator: Operator) -> Tensor:
        x_hat = self.estimator(y, operator)
        self.images += len(y)
        self.gradients += len(y) * x_hat.requires_grad
        return x_hat
