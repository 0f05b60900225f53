"""Ordinary training (``algo=ord``; paper section 4.1)."""

from __future__ import annotations

from torch import Tensor, nn

from invsmooth.algorithms.backbone import ReconstructionModule
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator


class Ord:
    """Mixin: minimise l(f(A x + b), x), averaged over the batch."""

    estimator: nn.Module

    def training_loss(self, x: Tensor, b: Tensor, operator: LinearOperator) -> Tensor:
        return mse(self.estimator(operator.A(x) + b, operator), x).mean()


class OrdTraining(Ord, ReconstructionModule):
    """Ordinary training over the reconstruction backbone."""
