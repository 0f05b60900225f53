"""Training of the certified error (``algo=certified``; SPEC section 10)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.errors import ConfigError, NoConstant
from invsmooth.core.parameters import NotNegative, check_parameters
from invsmooth.lipschitz.constants import training_constant
from invsmooth.operators.base import LinearOperator
from invsmooth.training.backbone import AlgorithmMixin, ReconstructionModule, TrainingSetup

TINY = 1e-12
"""Added to squared norms: the root has no gradient at 0."""


class Certified(AlgorithmMixin):
    """Mixin: Minimise the mean of (||f(Ax + b) - x|| + L eps)²/n, the certified error itself.

    L is the estimator's proven constant (:mod:`invsmooth.lipschitz.constants`), with a gradient where the estimator
    gives one. Where it does not, only the error is traded between images: those with small errors count more.

    Args:
        eps: l2 radius over one training PATCH, [0, 1] pixel scale.
    Raises:
        ValueError: eps below 0.
        ConfigError: the estimator has no constant."""

    declared: ClassVar = AlgorithmDeclaration("certified", order=5)

    def __init__(self, setup: TrainingSetup, *, eps: NotNegative) -> None:
        super().__init__(setup)
        check_parameters(Certified, {"eps": eps})
        self.eps = eps
        try:
            for operator in setup.train_operators:
                training_constant(setup.estimator, operator)
        except NoConstant as error:
            raise ConfigError(f"algo=certified needs a Lipschitz constant: {error}") from error

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        error = (self.estimator(operator.A(x) + b, operator).to(x.dtype) - x).flatten(1)
        constant = training_constant(self.estimator, operator).to(error)
        certified = (error.square().sum(1) + TINY).sqrt() + constant * self.eps
        loss = certified.square().mean() / error.shape[1]
        self.manual_backward(loss)
        self.log("train/lipschitz", constant.detach(), prog_bar=True, batch_size=len(x))
        return loss.detach()


class CertifiedTraining(Certified, ReconstructionModule):
    """``algo=certified``."""
