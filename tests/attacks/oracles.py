"""What the right answer is, computed another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import brentq

from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators import Ridge
from invsmooth.operators import BlockGaussian


def worst_case(jacobian: np.ndarray, residual: np.ndarray, eps: float) -> float:
    """max ||residual + J xi||² over ||xi|| <= eps in closed form: xi = (nu - J^T J)^{-1} J^T residual with ||xi|| = eps."""
    values, vectors = np.linalg.eigh(jacobian.T @ jacobian)
    g = vectors.T @ (jacobian.T @ residual)
    nu = brentq(lambda v: np.linalg.norm(g / (v - values)) - eps, values[-1] + 1e-9, values[-1] + 1e6)
    return float(np.sum((residual + jacobian @ (vectors @ (g / (nu - values)))) ** 2))


class Linear:
    """An estimator and an operator that amplify some directions much more than others, with images x and noise b."""

    def __init__(self) -> None:
        matrix = torch.randn(6, 16, generator=torch.Generator().manual_seed(5))
        self.estimator, self.operator = Ridge(0.3), BlockGaussian(6 / 16, block=4, matrix=matrix)
        self.x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        self.b = 0.02 * torch.randn(self.operator.A(self.x).shape, generator=torch.Generator().manual_seed(1))

    def reconstruct(self, x: torch.Tensor, b: torch.Tensor | float = 0.0) -> torch.Tensor:
        return self.estimator(self.operator.A(x) + b, self.operator)

    def worst_case(self, i: int, eps: float, shift: torch.Tensor | None = None) -> float:
        """The largest MSE of image i over the ball, in closed form; with ``shift`` (1, 8, 8) added to the image before."""
        columns = self.reconstruct(torch.eye(64).view(64, 1, 8, 8)).flatten(1).T.double().numpy()
        moved = self.x[i : i + 1] if shift is None else self.x[i : i + 1] + shift
        residual = (self.reconstruct(moved, self.b[i : i + 1]) - self.x[i : i + 1]).flatten().double().numpy()
        return worst_case(columns, residual, eps) / 64


def certificate_noise(shape: Sequence[int], n: int, seed: int, keys: Sequence[str]) -> torch.Tensor:
    """The unit noise of a certificate's first n draws, shape (len(keys), n, *shape)."""
    return torch.stack([smoothing_noise(shape, 0, n, seed, key) for key in keys])


class Waves:
    """An objective with many local maxima: sum of cos(k·xi + phase) over random wave vectors, other phases per image."""

    def __init__(self, n_images: int) -> None:
        generator = np.random.default_rng(3)
        self.waves, self.phases = generator.normal(size=(40, 24)) * 1.5, generator.uniform(0, 6, (n_images, 40))

    def value(self, xi: torch.Tensor) -> torch.Tensor:
        angles = xi.flatten(1) @ torch.tensor(self.waves).T + torch.tensor(self.phases)
        return angles.cos().sum(1)

    def value_and_gradient(self, xi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        xi = xi.detach().requires_grad_()
        loss = self.value(xi)
        return loss.detach(), torch.autograd.grad(loss.sum(), xi)[0]

    def of_image(self, i: int) -> tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], np.ndarray]]:
        """The value and its gradient for image ``i``, in NumPy and by hand."""
        phases = self.phases[i]
        return (
            lambda v: float(np.cos(self.waves @ v + phases).sum()),
            lambda v: -np.sin(self.waves @ v + phases) @ self.waves,
        )
