"""Smoothed adversarial training (``algo=smt_adv``; paper Algorithm 1, after Salman et al. 2019)."""

from __future__ import annotations

from torch import Tensor

from invsmooth.attacks import SmoothedError
from invsmooth.attacks.objectives import SMOOTHINGS
from invsmooth.attacks.pgd import Schedule
from invsmooth.attacks.search import Init, Keep
from invsmooth.core.units import to_unit_scale
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.adv import Adv
from invsmooth.training.backbone import ReconstructionModule, TrainingSetup

NOISES = ("fresh", "shared")


class SmtAdv(Adv):
    """Mixin: as adversarial training, but the attack maximises the error of the SMOOTHED reconstruction.

    ``noise="fresh"`` (Algorithm 1): fresh draws at each attack step; the weights are then updated on f(y_{x+xi*}) without
    smoothing noise. ``noise="shared"`` (Salman et al. 2019): the same draws at all attack steps and in the update, which
    minimises the loss that was attacked.

    Args beyond those of :class:`Adv`:
        sigma: standard deviation of the smoothing noise, grey levels.
        n_samples: draws S.
        smoothing: ``"mean"``, the loss of the mean reconstruction, or ``"loss"``, the mean of the losses.
        noise: ``"fresh"`` or ``"shared"``.
        chunk_size: draws at a time in the attack, which bounds its memory; None for all. The gradient is the same.
    Raises:
        ValueError: a setting outside its range.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        *,
        eps: float,
        n_iter: int,
        sigma: float,
        n_samples: int,
        step_size: float | None = None,
        schedule: Schedule = "constant",
        normalize: bool = True,
        init: Init = "zero",
        keep: Keep = "last",
        warm_start: bool = False,
        eps_warmup: int = 0,
        smoothing: str = "mean",
        noise: str = "fresh",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(
            setup, eps=eps, n_iter=n_iter, step_size=step_size, schedule=schedule, normalize=normalize, init=init,
            keep=keep, warm_start=warm_start, eps_warmup=eps_warmup,
        )  # fmt: skip
        check_smoothing(sigma, n_samples, smoothing, SMOOTHINGS, chunk_size)
        if noise not in NOISES:
            raise ValueError(f"noise={noise!r} is none of {', '.join(NOISES)}")
        self.sigma, self.n_samples, self.smoothing = to_unit_scale(sigma), n_samples, smoothing
        self.noise, self.chunk_size = noise, chunk_size

    @property
    def evals_per_batch(self) -> int:
        twice = self.smoothing == "mean" and (self.chunk_size or self.n_samples) < self.n_samples
        return self.search.n_iter * self.n_samples * (2 if twice else 1) + (
            1 if self.noise == "fresh" else self.n_samples
        )

    def objective(self, x: Tensor, b: Tensor, operator: LinearOperator) -> SmoothedError:
        step = -1

        def draw() -> Tensor:
            nonlocal step
            step += self.noise == "fresh"
            return self.draw((len(x), self.n_samples, *x.shape[1:]), "delta", step).to(x)

        return SmoothedError(
            self.estimator, operator, x, b, self.sigma, draw, self.smoothing, self.chunk_size
        )  # fmt: skip

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        objective = self.objective(x, b, operator)
        xi = self.attack(x, objective)
        if self.noise == "fresh":
            loss = mse(self.estimator(operator.A(x + xi) + b, operator).to(x.dtype), x).mean()
        else:
            x_hat = objective.reconstructions(xi, objective.draw())
            per_image = mse(x_hat.mean(1), x) if self.smoothing == "mean" else objective.losses(x_hat).mean(1)
            loss = per_image.mean()
        self.manual_backward(loss)
        return loss.detach()


def check_smoothing(
    sigma: float, n_samples: int, smoothing: str, allowed: tuple[str, ...], chunk_size: int | None
) -> None:
    """Raises ValueError: a setting of the smoothing outside its range."""
    if not sigma >= 0:
        raise ValueError(f"sigma={sigma} has to be >= 0 (grey levels)")
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} has to be at least 1")
    if smoothing not in allowed:
        raise ValueError(f"smoothing={smoothing!r} is none of {', '.join(allowed)}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} has to be at least 1, or null")


class SmtAdvTraining(SmtAdv, ReconstructionModule):
    """Smoothed adversarial training over the reconstruction backbone."""
