"""Ordinary training (``algo=ord``; paper section 4.1)."""

from __future__ import annotations

from torch import Tensor

from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup


class Ord(AlgorithmMixin):
    """Mixin: minimise l(f(A x + b), x), averaged over the batch.

    Args:
        setup: of the backbone.
        compute_match: ``"smt_grad"`` takes as many optimiser steps for each batch as smoothed gradient training does
            (``t_step``), each with fresh noise b, so that the two can be compared fairly. None: one.
        t_step: T_step of the algorithm that is matched.
    Raises:
        ValueError: an unknown ``compute_match``, or t_step < 1.
    """

    def __init__(self, setup: TrainingSetup, *, compute_match: str | None = None, t_step: int = 6) -> None:
        super().__init__(setup)
        if compute_match not in (None, "smt_grad"):
            raise ValueError(f"compute_match={compute_match!r} is neither null nor smt_grad")
        if t_step < 1:
            raise ValueError(f"t_step={t_step} has to be at least 1")
        self.updates_per_batch = 1 if compute_match is None else t_step

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        loss = mse(self.estimator(operator.A(x) + b, operator).to(x.dtype), x).mean()
        self.manual_backward(loss)
        return loss.detach()


class OrdTraining(Ord, ReconstructionModule):
    """Ordinary training over the reconstruction backbone."""
