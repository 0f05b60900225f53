"""What an attack maximises: the error of an estimator, or of its smoothed version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from invsmooth.estimators.frozen import Estimator
from invsmooth.metrics import mse
from invsmooth.operators.base import Operator


class Objective(Protocol):
    """A loss of each image as a function of its perturbation xi, shape (B, C, H, W)."""

    def value(self, xi: Tensor) -> Tensor:
        """Loss of each image, shape (B,)."""

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each image, shape (B,), and its gradient in its own xi, shape of xi."""


@dataclass(frozen=True)
class ReconstructionError:
    """l(f(A(x + xi) + b), x) (paper eq. 2) for clean images x (B, C, H, W)."""

    estimator: Estimator
    operator: Operator
    x: Tensor
    b: Tensor | None

    def value(self, xi: Tensor) -> Tensor:
        y = self.operator.A(self.x + xi)
        return mse(self.estimator(y if self.b is None else y + self.b, self.operator).to(self.x.dtype), self.x)

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        xi = xi.detach().requires_grad_()
        loss = self.value(xi)
        return loss.detach(), gradient_of(loss.sum(), xi)


@dataclass(frozen=True)
class SmoothedError:
    """The error of the smoothed estimator over S draws delta_k of the smoothing noise.

    ``smoothing="mean"``: l( (1/S) sum_k f(y_{x+xi+delta_k}), x ), the loss of the MEAN
    RECONSTRUCTION (paper eq. 8, 9). ``smoothing="loss"``: (1/S) sum_k l( f(y_{x+xi+delta_k}), x ),
    which the paper names as less effective; it is larger by tr(covariance of the draws)/n.

    The gradient is exact for every chunk size. That of ``"mean"`` needs the mean first, and is then
    a sum of vector-Jacobian products with the fixed cotangent 2 (mean - x) / (n S)."""

    estimator: Estimator
    operator: Operator
    x: Tensor
    b: Tensor | None
    sigma: float  # standard deviation of delta, [0, 1] pixel scale
    draw: Callable[[], Tensor]  # unit noise (B, S, C, H, W), once for each value or gradient
    smoothing: Literal["mean", "loss"] = "mean"
    chunk_size: int | None = None  # draws at a time; None for all, which saves the pass for the mean

    def reconstructions(self, xi: Tensor, noise: Tensor) -> Tensor:
        """f(y_{x+xi+delta_k}) for the noise of a chunk (B, s, C, H, W), in its shape."""
        y = self.operator.A(((self.x + xi)[:, None] + self.sigma * noise).flatten(0, 1))
        if self.b is not None:
            y = y + self.b.repeat_interleave(noise.shape[1], dim=0)
        return self.estimator(y, self.operator).to(self.x.dtype).unflatten(0, noise.shape[:2])

    def chunks(self, noise: Tensor) -> tuple[Tensor, ...]:
        return noise.split(self.chunk_size or noise.shape[1], dim=1)

    def value(self, xi: Tensor) -> Tensor:
        noise = self.draw()
        with torch.no_grad():
            return mse(self.mean(xi, noise), self.x) if self.smoothing == "mean" else self.losses(xi, noise).mean(1)

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        noise = self.draw()
        if self.smoothing == "loss":
            losses, gradient = self.losses_and_gradient(xi, noise)
            return losses.mean(1), gradient
        xi = xi.detach().requires_grad_()
        parts = self.chunks(noise)
        if len(parts) == 1:
            loss = mse(self.reconstructions(xi, noise).mean(1), self.x)
            return loss.detach(), gradient_of(loss.sum(), xi)
        with torch.no_grad():
            mean = self.mean(xi, noise)
        cotangent = 2 * (mean - self.x) / (self.x[0].numel() * noise.shape[1])
        gradient = torch.zeros_like(xi)
        for part in parts:
            gradient += gradient_of((self.reconstructions(xi, part) * cotangent[:, None]).sum(), xi)
        return mse(mean, self.x), gradient

    def mean(self, xi: Tensor, noise: Tensor) -> Tensor:
        total = torch.zeros_like(self.x)
        for part in self.chunks(noise):
            total += self.reconstructions(xi, part).sum(1)
        return total / noise.shape[1]

    def losses(self, xi: Tensor, noise: Tensor) -> Tensor:
        """l of each draw, shape (B, S)."""
        return torch.cat([self.losses_of(self.reconstructions(xi, part)) for part in self.chunks(noise)], 1)

    def losses_of(self, x_hat: Tensor) -> Tensor:
        """l of each reconstruction (B, s, C, H, W), shape (B, s)."""
        return (x_hat - self.x[:, None]).square().flatten(2).mean(2)

    def losses_and_gradient(self, xi: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """l of each draw, shape (B, S), and the gradient of their mean, in the shape of xi."""
        xi = xi.detach().requires_grad_()
        losses, gradient = [], torch.zeros_like(xi)
        for part in self.chunks(noise):
            losses.append(self.losses_of(self.reconstructions(xi, part)))
            gradient += gradient_of(losses[-1].sum() / noise.shape[1], xi)
        return torch.cat(losses, 1).detach(), gradient


def gradient_of(total: Tensor, xi: Tensor) -> Tensor:
    """d total / d xi. Raises ValueError: the estimator is not differentiable in its input."""
    if not total.requires_grad:
        why = "the estimator's output does not depend differentiably on its input; the attack needs gradients"
        raise ValueError(why)
    return torch.autograd.grad(total, xi)[0]
