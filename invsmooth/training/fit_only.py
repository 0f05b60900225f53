"""A closed-form fit and no more (``algo=fit``): for estimators with a method ``fit``, such as ``lmmse``."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.errors import ConfigError
from invsmooth.metrics import mse
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup


class Fit(AlgorithmMixin):
    """Mixin: No update. The backbone has fitted the estimator before the first batch; its error is logged.
    Raises: ConfigError: the estimator has no method ``fit``."""

    declared: ClassVar = AlgorithmDeclaration("fit", order=6)
    updates: ClassVar = False

    def __init__(self, setup: TrainingSetup) -> None:
        super().__init__(setup)
        if not callable(getattr(setup.estimator, "fit", None)):
            raise ConfigError(f"algo=fit: {type(setup.estimator).__name__} has no closed-form fit; use algo=ord")

    @torch.no_grad()
    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        return mse(self.estimator(operator.A(x) + b, operator).to(x.dtype), x).mean()


class FitTraining(Fit, ReconstructionModule):
    """``algo=fit``."""
