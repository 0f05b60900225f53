"""Adversarial training (``algo=adv``; paper eq. 2, Madry et al. 2018)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Literal

import torch
from torch import Tensor

from invsmooth.attacks import PGD, ReconstructionError, SmoothedError
from invsmooth.attacks.ball import steepest
from invsmooth.attacks.pgd import Schedule
from invsmooth.attacks.search import Keep
from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.parameters import Count, NotNegative, Positive, Whole, check_parameters
from invsmooth.core.rng import stream_key
from invsmooth.estimators.frozen import frozen
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup

Init = Literal["zero", "sphere", "residual"]


class Adv(AlgorithmMixin):
    """Mixin: Minimise l(f(A(x + xi*) + b), x), xi* by l2-PGD on the same loss, patch by patch.

    The estimator is in eval mode with frozen weights while it is attacked.

    Args:
        eps: l2 radius over one training PATCH, [0, 1] pixel scale.
        n_iter: gradients of each attack (T_itr).
        step_size, schedule, normalize, keep, history: see :class:`invsmooth.attacks.PGD`.
        init: see there; or ``"residual"``: at the distance eps along f(A x + b) - x. It costs a
            forward pass, and saves more gradients than it costs.
        warm_start: start at the perturbation of the same place in the batch before, instead of
            ``init``.
        eps_warmup: batches over which the radius grows linearly from 0 to eps.
        inner_precision: of the network in the attack. ``"fp32"``: that of the update.
            ``"bf16"``: under autocast; loss and update keep their precision.
    Raises: ValueError: a parameter outside its range."""

    declared: ClassVar = AlgorithmDeclaration("adv", order=2)
    needs_input_gradient = True
    carried = ("last_xi",)

    def __init__(
        self, setup: TrainingSetup, *, eps: NotNegative, n_iter: Count, step_size: Positive | None = None,
        schedule: Schedule = "constant", normalize: bool = True, init: Init = "zero", keep: Keep = "last",
        warm_start: bool = False, eps_warmup: Whole = 0, history: Whole = 0,
        inner_precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:  # fmt: skip
        super().__init__(setup)
        check_parameters(Adv, {
            "eps": eps, "eps_warmup": eps_warmup, "warm_start": warm_start, "init": init,
            "inner_precision": inner_precision,
        })  # fmt: skip
        self.search = PGD(
            n_iter=n_iter, step_size=step_size, schedule=schedule, normalize=normalize,
            init="zero" if init == "residual" else init, keep=keep, history=history,
        )  # fmt: skip
        self.eps, self.n_iter, self.step_size, self.schedule = eps, n_iter, step_size, schedule
        self.normalize, self.init, self.keep = normalize, init, keep
        self.eps_warmup, self.warm_start, self.history = eps_warmup, warm_start, history
        self.inner_precision = inner_precision
        self.last_xi: Tensor | None = None

    @property
    def evals_per_batch(self) -> int:
        return self.search.n_iter + 1 + (self.init == "residual")

    def objective(self, x: Tensor, b: Tensor, operator: LinearOperator) -> ReconstructionError | SmoothedError:
        """What the attack maximises."""
        return ReconstructionError(self.estimator, operator, x, b)

    def radius(self) -> float:
        return self.eps * min(1.0, (self.batches_seen + 1) / (self.eps_warmup + 1))

    def attack(self, x: Tensor, objective: ReconstructionError | SmoothedError) -> Tensor:
        """xi* of each patch, shape of x, detached."""
        # Numbered by batch, as everything drawn in training is.
        seed = stream_key(self.seed, "attack", self.batches_seen, self.global_rank)
        start = self.last_xi if self.warm_start and self.last_xi is not None and self.last_xi.shape == x.shape else None
        with frozen(self.estimator), self.inner(x):
            if start is None and self.init == "residual":
                start = self.radius() * steepest(residual(objective))
            xi = self.search.search(objective, x, eps=self.radius(), seed=seed, start=start, final_loss=False).xi
        if self.warm_start:
            self.last_xi = xi
        return xi

    def inner(self, x: Tensor) -> AbstractContextManager[object]:
        """The precision in which the attack runs the network."""
        return torch.autocast(x.device.type, torch.bfloat16) if self.inner_precision == "bf16" else nullcontext()

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        xi = self.attack(x, self.objective(x, b, operator))
        loss = mse(self.estimator(operator.A(x + xi) + b, operator).to(x.dtype), x).mean()
        self.manual_backward(loss)
        return loss.detach()


@torch.no_grad()
def residual(objective: ReconstructionError | SmoothedError) -> Tensor:
    """f(A x + b) - x, without smoothing noise; shape of x."""
    x, y = objective.x, objective.operator.A(objective.x)
    y = y if objective.b is None else y + objective.b
    return objective.estimator(y, objective.operator).to(x.dtype) - x


class AdvTraining(Adv, ReconstructionModule):
    """``algo=adv``."""
