"""Smoothed adversarial training (``algo=smt_adv``; paper Algorithm 1, after Salman et al. 2019)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from invsmooth.attacks import SmoothedError
from invsmooth.attacks.pgd import Schedule
from invsmooth.attacks.search import Keep
from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.parameters import Count, NotNegative, Positive, Whole, check_parameters
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.adv import Adv, Init
from invsmooth.training.backbone import ReconstructionModule, TrainingSetup, draws_that_fit


class SmtAdv(Adv):
    """Mixin: As :class:`Adv`, but the attack maximises the error of the SMOOTHED reconstruction.

    ``noise="fresh"`` (Algorithm 1): fresh draws at each attack step; the weights are then updated
    on f(y_{x+xi*}) without smoothing noise. ``noise="shared"`` (Salman et al. 2019): the same draws
    at all attack steps and in the update, which minimises the loss that was attacked.

    Args:
        sigma: standard deviation of the smoothing noise, [0, 1] pixel scale.
        n_samples: draws S.
        smoothing: see :class:`invsmooth.attacks.SmoothedError`.
        antithetic: draws in pairs delta, -delta (the last one of an odd number has no partner).
            What f does linearly to the noise cancels in the mean: fewer draws do.
        chunk_size: draws at a time in the attack, which bounds its memory; None for as many as
            :func:`invsmooth.training.backbone.draws_that_fit` says.
    Raises: ValueError: a parameter outside its range."""

    declared: ClassVar = AlgorithmDeclaration("smt_adv", order=3, smooths=True)
    grey_levels = ("sigma",)

    def __init__(
        self, setup: TrainingSetup, *, eps: NotNegative, n_iter: Count, sigma: NotNegative, n_samples: Count,
        step_size: Positive | None = None, schedule: Schedule = "constant", normalize: bool = True, init: Init = "zero",
        keep: Keep = "last", warm_start: bool = False, eps_warmup: Whole = 0,
        smoothing: Literal["mean", "loss"] = "mean", noise: Literal["fresh", "shared"] = "fresh",
        chunk_size: Count | None = None, history: Whole = 0, inner_precision: Literal["fp32", "bf16"] = "fp32",
        antithetic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            setup, eps=eps, n_iter=n_iter, step_size=step_size, schedule=schedule, normalize=normalize, init=init,
            keep=keep, warm_start=warm_start, eps_warmup=eps_warmup, history=history, inner_precision=inner_precision,
        )  # fmt: skip
        check_parameters(SmtAdv, {
            "sigma": sigma, "n_samples": n_samples, "smoothing": smoothing, "noise": noise, "chunk_size": chunk_size,
            "antithetic": antithetic,
        })  # fmt: skip
        self.sigma, self.n_samples, self.smoothing = sigma, n_samples, smoothing
        self.noise, self.chunk_size, self.antithetic = noise, chunk_size, antithetic
        self.at_a_time = chunk_size or n_samples  # what it was in the last batch

    @property
    def evals_per_batch(self) -> int:
        twice = self.smoothing == "mean" and self.at_a_time < self.n_samples
        update = 1 if self.noise == "fresh" else self.n_samples
        return self.search.n_iter * self.n_samples * (2 if twice else 1) + update + (self.init == "residual")

    def objective(self, x: Tensor, b: Tensor, operator: LinearOperator) -> SmoothedError:
        step = -1

        def draw() -> Tensor:
            nonlocal step
            step += self.noise == "fresh"
            drawn = -(-self.n_samples // 2) if self.antithetic else self.n_samples
            noise = self.draw((len(x), drawn, *x.shape[1:]), "delta", step).to(x)
            return torch.cat([noise, -noise], 1)[:, : self.n_samples] if self.antithetic else noise

        self.at_a_time = self.chunk_size or draws_that_fit(x, self.n_samples)
        return SmoothedError(self.estimator, operator, x, b, self.sigma, draw, self.smoothing, self.at_a_time)

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        if self.noise == "fresh":
            return super().accumulate_gradients(x, b, operator, update)
        objective = self.objective(x, b, operator)
        x_hat = objective.reconstructions(self.attack(x, objective), objective.draw())
        loss = (mse(x_hat.mean(1), x) if self.smoothing == "mean" else objective.losses_of(x_hat).mean(1)).mean()
        self.manual_backward(loss)
        return loss.detach()


class SmtAdvTraining(SmtAdv, ReconstructionModule):
    """``algo=smt_adv``."""
