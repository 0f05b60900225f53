"""Jacobian-regularised training (``algo=jcb``; paper eq. 4, Amjad et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
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


class Jcb(AlgorithmMixin):
    """Mixin: Minimise l(f(A x + b), x) + beta ||J(y) A||, J(y) A the Jacobian of x -> f(A x + b).

    Spectral norm: by power iteration on the Jacobian of each patch, with the left vector of the
    batch before as a start. The penalty is the length of the last product J v with v fixed, and
    only that product is differentiated: at a singular vector this is the gradient of the singular
    value itself. The same forward pass gives f(A x + b). Frobenius norm: Hutchinson's estimate, the
    root mean square of ||J v|| over normal v.

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
        def reconstruct(z: Tensor) -> Tensor:
            return self.estimator(operator.A(z) + b, operator).to(x.dtype)

        if self.norm == "spectral":
            u = self.left
            if u is None or u.shape != x.shape:
                u = steepest(self.draw(x.shape, "power iteration").to(x))
            x_hat, product = jvp(reconstruct, x, power_iteration(reconstruct, x, u, self.n_iter))
            self.left = unit(product.detach(), u)
            penalty = image_norm(product).flatten()
        else:
            squares = x.new_zeros(len(x))
            for probe in range(self.n_iter):
                v = self.draw(x.shape, "probe", probe).to(x)
                x_hat, product = jvp(reconstruct, x, v)
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


def power_iteration(function: Callable[[Tensor], Tensor], x: Tensor, u: Tensor, n_iter: int) -> Tensor:
    """Unit vectors v near the top right singular vector of each image's Jacobian at ``x``:
    v <- J^T u, u <- J v, normalised, ``n_iter`` times; the last J v is left to the caller.

    Args:
        function: images (B, …) to images, each image on its own.
        x, u: shape (B, …); u of unit norm per image, near the top left singular vector.
    Returns: v, shape of x, detached."""
    x, v = x.detach(), u
    for k in range(n_iter):
        if k > 0:
            with torch.no_grad():
                u = unit(jvp(function, x, v)[1], u)
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
