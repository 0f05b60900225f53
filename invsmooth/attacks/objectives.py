"""What an attack maximises: the reconstruction error of an estimator, or of its smoothed version, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from invsmooth.estimators.frozen import Estimator
from invsmooth.metrics import mse
from invsmooth.operators.base import Operator

SMOOTHINGS = ("mean", "loss")


class Objective(Protocol):
    """A loss of each image as a function of its perturbation xi, shape (B, C, H, W)."""

    def value(self, xi: Tensor) -> Tensor:
        """Loss of each image, shape (B,)."""
        ...

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each image, shape (B,), and the gradient of each with respect to its own xi, in the shape of xi."""
        ...


@dataclass(frozen=True)
class ReconstructionError:
    """l(f(A(x + xi) + b), x) (paper eq. 2).

    Attributes:
        estimator, operator: f and A.
        x: clean images (B, C, H, W).
        b: noise in the shape of y, or None.
    """

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

    ``smoothing="mean"``: l( (1/S) sum_k f(y_{x+xi+delta_k}), x ), the loss of the MEAN RECONSTRUCTION (paper eq. 8 and 9).
    ``smoothing="loss"``: (1/S) sum_k l( f(y_{x+xi+delta_k}), x ), the variant that the paper names as less effective.
    They differ by the spread of the draws: the loss variant is larger by tr(their covariance)/n.

    The gradient is exact for every chunk size: the loss of the mean needs the mean first, and then it is a sum of
    vector-Jacobian products with the fixed cotangent 2 (mean - x) / (n S).

    Attributes:
        estimator, operator, x, b: as in :class:`ReconstructionError`.
        sigma: standard deviation of delta, [0, 1] pixel scale.
        draw: gives the unit noise of one evaluation, shape (B, S, C, H, W); called once for each value or gradient.
        smoothing: ``"mean"`` or ``"loss"``.
        chunk_size: draws at a time; None for all. Memory grows with it; with all draws in one chunk one pass is enough.
    """

    estimator: Estimator
    operator: Operator
    x: Tensor
    b: Tensor | None
    sigma: float
    draw: Callable[[], Tensor]
    smoothing: str = "mean"
    chunk_size: int | None = None

    def reconstructions(self, xi: Tensor, noise: Tensor) -> Tensor:
        """f(y_{x+xi+delta_k}) for the noise of a chunk (B, s, C, H, W), in its shape."""
        z = (self.x + xi)[:, None] + self.sigma * noise
        y = self.operator.A(z.flatten(0, 1))
        if self.b is not None:
            y = y + self.b.repeat_interleave(noise.shape[1], dim=0)
        return self.estimator(y, self.operator).to(self.x.dtype).unflatten(0, noise.shape[:2])

    def chunks(self, noise: Tensor) -> Iterator[Tensor]:
        yield from noise.split(self.chunk_size or noise.shape[1], dim=1)

    def value(self, xi: Tensor) -> Tensor:
        noise = self.draw()
        with torch.no_grad():
            return self.loss_of(self.summary(xi, noise))

    def summary(self, xi: Tensor, noise: Tensor) -> Tensor:
        """Without gradients: the mean reconstruction (B, C, H, W), or the mean loss (B,)."""
        total = torch.zeros_like(self.x) if self.smoothing == "mean" else self.x.new_zeros(len(self.x))
        for part in self.chunks(noise):
            x_hat = self.reconstructions(xi, part)
            total += x_hat.sum(1) if self.smoothing == "mean" else self.losses(x_hat).sum(1)
        return total / noise.shape[1]

    def losses(self, x_hat: Tensor) -> Tensor:
        """l of each draw, shape (B, s)."""
        return (x_hat - self.x[:, None]).square().flatten(2).mean(2)

    def loss_of(self, summary: Tensor) -> Tensor:
        return mse(summary, self.x) if self.smoothing == "mean" else summary

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        noise = self.draw()
        n_samples = noise.shape[1]
        xi = xi.detach().requires_grad_()
        parts = list(self.chunks(noise))
        if len(parts) == 1:
            x_hat = self.reconstructions(xi, noise)
            loss = mse(x_hat.mean(1), self.x) if self.smoothing == "mean" else self.losses(x_hat).mean(1)
            return loss.detach(), gradient_of(loss.sum(), xi)
        gradient = torch.zeros_like(xi)
        if self.smoothing == "mean":
            with torch.no_grad():
                mean = self.summary(xi, noise)
            cotangent = 2 * (mean - self.x) / (self.x[0].numel() * n_samples)
            for part in parts:
                x_hat = self.reconstructions(xi, part)
                gradient += gradient_of((x_hat * cotangent[:, None]).sum(), xi)
            return mse(mean, self.x), gradient
        value = self.x.new_zeros(len(self.x))
        for part in parts:
            losses = self.losses(self.reconstructions(xi, part)).sum(1) / n_samples
            gradient += gradient_of(losses.sum(), xi)
            value += losses.detach()
        return value, gradient


def gradient_of(total: Tensor, xi: Tensor) -> Tensor:
    """d total / d xi. Raises ValueError: the estimator is not differentiable in its input."""
    if not total.requires_grad:
        raise ValueError(
            "the estimator's output does not depend differentiably on its input; the attack needs gradients"
        )
    (gradient,) = torch.autograd.grad(total, xi)
    return gradient
