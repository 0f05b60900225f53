"""Jacobian-regularised training (``algo=jcb``; paper eq. 4, Amjad et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from invsmooth.attacks.ball import norm as image_norm
from invsmooth.attacks.ball import steepest
from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.parameters import Count, NotNegative, Positive, check_parameters
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator, Operator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup

# l2 length of the step of a difference quotient. In float32 the quotient of a trained network is 1 % off (l2), half by
# rounding and half by the kinks of relu.
STEP = {torch.float32: 2e-3, torch.float64: 1e-6}


class Jcb(AlgorithmMixin):
    """Mixin: Minimise l(f(A x + b), x) + beta ||J(y) A||, J(y) A the Jacobian of x -> f(A x + b).

    Spectral norm: by power iteration on the Jacobian of each patch, with the left vector of the
    batch before as a start. The penalty is the length of the last product J v with v fixed, and
    only that product is differentiated: at a singular vector this is the gradient of the singular
    value itself. The forward pass of f(A x + b) gives the first J^T u, too. With ``reduce="max"``
    one patch has the penalty: the last product of the others needs no gradient, so that of this
    patch is taken again with one. Frobenius norm: Hutchinson's estimate, the root mean square of
    ||J v|| over normal v.

    Args:
        beta: weight of the penalty, or None for Amjad et al.'s (:func:`automatic_beta`).
        gamma: of the automatic weight.
        reduce: penalty of the batch, ``"max"`` or ``"mean"`` over its patches.
        n_iter: power iterations (or probes of the Frobenius norm) for each batch.
    Raises: ValueError: a parameter outside its range, or a training operator without an adjoint."""

    declared: ClassVar = AlgorithmDeclaration("jcb", order=1)
    needs_input_gradient = True
    why_not_compiled = "torch.compile has no forward-mode derivative"
    carried = ("left",)

    def __init__(
        self, setup: TrainingSetup, *, beta: NotNegative | None = None, gamma: Positive = 20.0,
        norm: Literal["spectral", "frobenius"] = "spectral", reduce: Literal["max", "mean"] = "max", n_iter: Count = 1,
    ) -> None:  # fmt: skip
        super().__init__(setup)
        check_parameters(Jcb, {"beta": beta, "gamma": gamma, "norm": norm, "reduce": reduce, "n_iter": n_iter})
        if not all(isinstance(o, Operator) for o in setup.train_operators):
            raise ValueError("jcb needs operators with an adjoint (A_adjoint)")
        self.beta, self.gamma, self.norm, self.reduce, self.n_iter = beta, gamma, norm, reduce, n_iter
        self.left: Tensor | None = None

    @property
    def evals_per_batch(self) -> int:
        return self.n_iter * (2 if self.norm == "spectral" else 1)

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        def reconstruct(z: Tensor, b: Tensor) -> Tensor:
            return self.estimator(operator.A(z) + b, operator).to(x.dtype)

        if self.norm == "spectral":
            u = self.left
            if u is None or u.shape != x.shape:
                u = steepest(self.draw(x.shape, "power iteration").to(x))
            point = x.clone().requires_grad_()
            x_hat = reconstruct(point, b)
            (back,) = torch.autograd.grad(x_hat, point, u, retain_graph=True)
            v = power_iteration(partial(reconstruct, b=b), x, unit(back, u), self.n_iter - 1)
            if self.reduce == "mean":
                product = jvp(partial(reconstruct, b=b), x, v)[1]
            else:
                product = direction_of(partial(reconstruct, b=b), x, x_hat.detach(), v)
            self.left = unit(product.detach(), u)
            if self.reduce == "max":
                worst = image_norm(product).flatten().argmax(0, keepdim=True)
                product = jvp(partial(reconstruct, b=b[worst]), x[worst], v[worst])[1]
                self.forward_images -= 1  # counted already: this patch is in the product before
            penalty = image_norm(product).flatten()
        else:
            squares = x.new_zeros(len(x))
            for probe in range(self.n_iter):
                v = self.draw(x.shape, "probe", probe).to(x)
                x_hat, product = jvp(partial(reconstruct, b=b), x, v)
                squares = squares + product.square().flatten(1).sum(1) / self.n_iter
            penalty = squares.sqrt()
        penalty = penalty.max() if self.reduce == "max" else penalty.mean()
        error = mse(x_hat, x).mean()
        beta = self.beta
        if beta is None:
            beta = automatic_beta(float(error.detach()), float(penalty.detach()), self.gamma)
        loss = error + beta * penalty
        self.manual_backward(loss)
        self.log("train/penalty", penalty.detach(), batch_size=len(x))
        self.log("train/beta", beta, batch_size=len(x))
        return loss.detach()


def jvp(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """``function(x)`` and J v, by forward-mode differentiation: one pass gives both."""
    value, product = torch.func.jvp(function, (x,), (v,))  # type: ignore[misc]
    return value, product


def direction_of(function: Callable[[Tensor], Tensor], x: Tensor, value: Tensor, v: Tensor) -> Tensor:
    """J v without a gradient, for the next start and for the choice of a patch. On a CPU in full precision a difference
    quotient: one pass. Forward mode takes three there, as torch also multiplies by the derivative of the weights, which
    is zero; in coarser numbers, as TF32 on a GPU, a difference would be rounded away.

    Args:
        function: images (B, …) to images, each image on its own.
        x, v: shape (B, …); v of unit norm per image.
        value: ``function(x)``, detached."""
    step = None if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") else STEP.get(x.dtype)
    with torch.no_grad():
        return (function(x + step * v) - value) / step if step else jvp(function, x, v)[1]


def power_iteration(function: Callable[[Tensor], Tensor], x: Tensor, v: Tensor, n_iter: int) -> Tensor:
    """Unit vectors nearer to the top right singular vector of each image's Jacobian at ``x`` than
    ``v`` is: u <- J v, v <- J^T u, normalised, ``n_iter`` times.

    Args:
        function: images (B, …) to images, each image on its own.
        x, v: shape (B, …); v of unit norm per image.
    Returns: v, shape of x, detached."""
    x = x.detach()
    for _ in range(n_iter):
        with torch.no_grad():
            u = unit(jvp(function, x, v)[1], v)
        point = x.clone().requires_grad_()
        with torch.enable_grad():
            (back,) = torch.autograd.grad(function(point), point, u)
        v = unit(back, v)
    return v


def unit(vector: Tensor, otherwise: Tensor) -> Tensor:
    """``vector`` with unit norm per image, or ``otherwise`` for an image where it is zero."""
    return torch.where(image_norm(vector) > 0, steepest(vector), otherwise)


def automatic_beta(error: float, penalty: float, gamma: float) -> float:
    """10^floor(log10(error / penalty)) / gamma, without a gradient: brings the penalty to the power
    of ten below the error, divided by gamma. 0 if the penalty is 0."""
    return 10.0 ** math.floor(math.log10(error / penalty)) / gamma if error > 0 and penalty > 0 else 0.0


class JcbTraining(Jcb, ReconstructionModule):
    """``algo=jcb``."""
