"""Smoothed gradient training (``algo=smt_grad``; paper Algorithm 2 and eq. 10)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.parameters import Count, NotNegative, check_parameters
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup, draws_that_fit


class SmtGrad(AlgorithmMixin):
    """Mixin: For j = 1 … T_step with sigma_j = (j / T_step) sigma, average the gradients of
    l(f(y_{x+delta}), x) over S draws and take ONE optimiser step: T_step steps for each batch.

    ``smoothing="loss"`` averages the losses and takes the gradient of the average. The paper names
    it as a less effective alternative, but a gradient is linear: both take the same step up to
    rounding (a test checks it). They differ in memory: ``"gradient"`` needs that of one chunk of
    draws, ``"loss"`` that of all S.

    Args:
        sigma: sigma_max, [0, 1] pixel scale.
        n_samples: draws S for each optimiser step.
        t_step: T_step, noise levels and optimiser steps for each batch.
        chunk_size: draws at a time with ``"gradient"``; None for as many as
            :func:`invsmooth.training.backbone.draws_that_fit` says.
    Raises: ValueError: a parameter outside its range."""

    declared: ClassVar = AlgorithmDeclaration("smt_grad", order=4, smooths=True)
    grey_levels = ("sigma",)

    def __init__(
        self, setup: TrainingSetup, *, sigma: NotNegative, n_samples: Count, t_step: Count,
        smoothing: Literal["gradient", "loss"] = "gradient", chunk_size: Count | None = None,
    ) -> None:  # fmt: skip
        super().__init__(setup)
        check_parameters(SmtGrad, {
            "sigma": sigma, "n_samples": n_samples, "t_step": t_step, "smoothing": smoothing, "chunk_size": chunk_size,
        })  # fmt: skip
        self.sigma, self.n_samples, self.t_step = sigma, n_samples, t_step
        self.smoothing, self.chunk_size, self.updates_per_batch = smoothing, chunk_size, t_step

    @property
    def evals_per_batch(self) -> int:
        return self.updates_per_batch * self.n_samples

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        sigma = (update + 1) / self.updates_per_batch * self.sigma
        noise = self.draw((len(x), self.n_samples, *x.shape[1:]), "delta", update).to(x)
        total = x.new_zeros(())
        fit = self.chunk_size or draws_that_fit(x, self.n_samples)
        at_a_time = fit if self.smoothing == "gradient" else self.n_samples
        for part in noise.split(at_a_time, dim=1):
            n_draws = part.shape[1]
            y = operator.A((x[:, None] + sigma * part).flatten(0, 1)) + b.repeat_interleave(n_draws, dim=0)
            x_hat = self.estimator(y, operator).to(x.dtype)
            loss = mse(x_hat, x.repeat_interleave(n_draws, dim=0)).sum() / (len(x) * self.n_samples)
            self.manual_backward(loss)
            total += loss.detach()
        return total


class SmtGradTraining(SmtGrad, ReconstructionModule):
    """``algo=smt_grad``."""
