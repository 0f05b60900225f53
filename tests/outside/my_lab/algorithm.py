"""Training on noisy signals: one draw of the smoothing noise for each patch."""

from torch import Tensor

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.metrics import mse
from invsmooth.operators import LinearOperator
from invsmooth.training import ReconstructionModule, TrainingSetup


class NoisyTraining(ReconstructionModule):
    """Minimise the MSE of f(A(x + delta) + b) to x, delta ~ N(0, sigma² I).

    Args:
        sigma: standard deviation per pixel. The config gives it in grey levels.
    """

    declared = AlgorithmDeclaration("noisy", smooths=True)
    grey_levels = ("sigma",)

    def __init__(self, setup: TrainingSetup, *, sigma: float) -> None:
        super().__init__(setup)
        self.sigma = sigma

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        delta = self.sigma * self.draw(x.shape, "delta").to(x)
        loss = mse(self.estimator(operator.A(x + delta) + b, operator), x).mean()
        self.manual_backward(loss)
        return loss.detach()
