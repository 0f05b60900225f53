"""Smoothed gradient training (``algo=smt_grad``; paper Algorithm 2 and eq. 10)."""

from __future__ import annotations

from torch import Tensor

from invsmooth.core.units import to_unit_scale
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup
from invsmooth.training.smt_adv import check_smoothing

SMOOTHINGS = ("gradient", "loss")


class SmtGrad(AlgorithmMixin):
    """Mixin: for j = 1 … T_step with sigma_j = (j / T_step) sigma, average the gradients of l(f(y_{x+delta}), x) over S
    draws and take ONE optimiser step: T_step steps for each batch.

    ``smoothing="loss"`` averages the losses and takes the gradient of the average. The paper names it as a less effective
    alternative, but a gradient is linear: the two are the same step, but for rounding, and a test holds them to that.
    What differs is the memory: ``"gradient"`` needs that of one chunk of draws, ``"loss"`` that of all S.

    Args:
        setup: of the backbone.
        sigma: sigma_max, grey levels.
        n_samples: draws S for each optimiser step.
        t_step: T_step, noise levels and optimiser steps for each batch.
        smoothing: ``"gradient"`` or ``"loss"``.
        chunk_size: draws at a time with ``"gradient"``; None for all.
    Raises:
        ValueError: a setting outside its range.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        *,
        sigma: float,
        n_samples: int,
        t_step: int,
        smoothing: str = "gradient",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(setup)
        check_smoothing(sigma, n_samples, smoothing, SMOOTHINGS, chunk_size)
        if t_step < 1:
            raise ValueError(f"t_step={t_step} has to be at least 1")
        self.sigma, self.n_samples, self.updates_per_batch = to_unit_scale(sigma), n_samples, t_step
        self.chunk_size = n_samples if smoothing == "loss" or chunk_size is None else chunk_size

    @property
    def evals_per_batch(self) -> int:
        return self.updates_per_batch * self.n_samples

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        sigma = (update + 1) / self.updates_per_batch * self.sigma
        noise = self.draw((len(x), self.n_samples, *x.shape[1:]), "delta", update).to(x)
        total = x.new_zeros(())
        for part in noise.split(self.chunk_size, dim=1):
            n_draws = part.shape[1]
            y = operator.A((x[:, None] + sigma * part).flatten(0, 1)) + b.repeat_interleave(n_draws, dim=0)
            x_hat = self.estimator(y, operator).to(x.dtype)
            loss = mse(x_hat, x.repeat_interleave(n_draws, dim=0)).sum() / (len(x) * self.n_samples)
            self.manual_backward(loss)
            total += loss.detach()
        return total


class SmtGradTraining(SmtGrad, ReconstructionModule):
    """Smoothed gradient training over the reconstruction backbone."""
