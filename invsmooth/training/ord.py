"""Ordinary training (``algo=ord``; paper section 4.1)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.parameters import Count, check_parameters
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup


class Ord(AlgorithmMixin):
    """Mixin: Minimise l(f(A x + b), x), averaged over the batch.

    Args:
        compute_match: ``"smt_grad"`` takes as many optimiser steps for each batch as smoothed
            gradient training (``t_step``), each with fresh noise b, for a fair comparison.
    Raises: ValueError: a parameter outside its range."""

    declared: ClassVar = AlgorithmDeclaration("ord", order=0)

    def __init__(
        self, setup: TrainingSetup, *, compute_match: Literal["smt_grad"] | None = None, t_step: Count = 6
    ) -> None:
        super().__init__(setup)
        check_parameters(Ord, {"compute_match": compute_match, "t_step": t_step})
        self.compute_match, self.t_step = compute_match, t_step
        self.updates_per_batch = 1 if compute_match is None else t_step

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        loss = mse(self.estimator(operator.A(x) + b, operator).to(x.dtype), x).mean()
        self.manual_backward(loss)
        return loss.detach()


class OrdTraining(Ord, ReconstructionModule):
    """``algo=ord``."""
