"""NullSpace: unrolled gradient and denoising steps with a proven Lipschitz constant (SPEC section 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.block_linear import BlockLinear
from invsmooth.estimators.lipnet import GREY
from invsmooth.lipschitz.constants import operator_norm_bound
from invsmooth.lipschitz.steps import UNIT, PotentialStep
from invsmooth.operators.base import LinearOperator, Operator
from invsmooth.operators.block_gaussian import BlockGaussian, measurements_per_block

Ratio = Annotated[float, Field(gt=0, le=1)]


class NullSpace(nn.Module):
    """x_0 = D_0(Wy + c), then x_k = D_k(x_{k-1} + t_k A^T(y - A x_{k-1})) for k = 1 … ``n_phases`` - 1.

    W is fitted to the training images (:class:`BlockLinear`), the D_k are 1-Lipschitz
    (:class:`invsmooth.lipschitz.steps.PotentialStep`), the t_k in (0, 1) are learned. With t = 1 and A with orthonormal
    rows a step replaces the part of x that A sees by A^T y and keeps the part in the null space of A (Schwab et al. 2019).

    The constant. Let dy, dx be differences of two measurements and of two images, a_i and c_i their coordinates along the
    singular vectors of A, and s_i its singular values. The step before D maps them to (1 - t s_i²) a_i + t s_i c_i where
    s_i > 0, and leaves a_i else. The largest value of ((1 - t s²) a + t s c)² - a² over a is c² t/(2 - t s²). So

        L_k² <= L_{k-1}² + t_k/(2 - t_k ||A||²),  L_0 = ||W||,

    where t_k ||A||² < 2. With orthonormal rows and t = 1: L² = ||W||² + n_phases - 1. In signal space c_i is s_i times a
    coordinate of the change of the signal, which gives ||A||² times that term, and L_0 = ||WA||.

    Args:
        ratios: compression ratios of the operators that it is for: one W for each.
        block: of these operators.
        limit: largest singular value that W may have; null: any.
        filters, kernel: of each D_k.
    Raises: ValueError: a size out of range."""

    def __init__(
        self, ratios: Sequence[Ratio] | Ratio, block: Count = 33, n_phases: Count = 8, filters: Count = 32,
        kernel: int = 7, limit: Positive | None = 3.4,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_phases < 1:
            raise ValueError(f"n_phases={n_phases} has to be at least 1")
        listed = [ratios] if isinstance(ratios, int | float) else list(ratios)
        self.ratios, self.block, self.n_phases = [float(r) for r in listed], block, n_phases
        self.filters, self.kernel, self.limit = filters, kernel, limit
        named = {str(measurements_per_block(r, block)): BlockLinear(r, block, limit) for r in self.ratios}
        self.start = nn.ModuleDict(named)
        self.steps = nn.ModuleList(PotentialStep(filters, kernel) for _ in range(n_phases))
        self.step_sizes = nn.Parameter(torch.zeros(n_phases - 1))  # t = sigmoid

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Reconstruct images (B, 1, H, W). The images are processed with the pad that completes their blocks."""
        linear = self.linear(operator)
        inner = operator.uncropped() if isinstance(operator, BlockGaussian) else operator
        x = self.denoise(0, linear(y, inner))
        for k, t in enumerate(self.sizes().to(x), 1):
            x = self.denoise(k, x + t * inner.A_adjoint(y - inner.A(x)))
        return operator.crop(x) if isinstance(operator, BlockGaussian) else x

    def denoise(self, k: int, x: Tensor) -> Tensor:
        return self.steps[k](x - GREY) + GREY

    def linear(self, operator: Operator) -> BlockLinear:
        """The map W for an operator. Raises: NoConstant: there is none for its ratio."""
        m = operator.phi.shape[0] if isinstance(operator, BlockGaussian) else 0
        if str(m) not in self.start:
            found = f"{type(operator).__name__}, ratio {getattr(operator, 'ratio', 1)}"
            raise NoConstant(f"this network is for block operators with ratios {self.ratios}, and not for {found}")
        linear = self.start[str(m)]
        assert isinstance(linear, BlockLinear)
        return linear

    def sizes(self) -> Tensor:
        """The t_k, float64."""
        return self.step_sizes.double().sigmoid()

    # Fitting and training.

    @property
    def fitted(self) -> bool:
        return all(bool(linear.weight.any()) for linear in self.linears())

    def fit(self, images: Tensor, operators: Sequence[LinearOperator], sigma_b: float) -> None:
        """Each W in closed form; see :meth:`BlockLinear.fit`."""
        for operator in operators:
            self.linear(operator).fit(images, operator, sigma_b)

    def project(self) -> None:
        for linear in self.linears():
            linear.project()

    def linears(self) -> list[BlockLinear]:
        return [linear for linear in self.start.values() if isinstance(linear, BlockLinear)]

    # The constant.

    def lipschitz(self, operator: Operator) -> float:
        return float(self.lipschitz_tensor(operator).detach()) * (1 + 1e-12)

    def lipschitz_signal(self, operator: Operator) -> float:
        first, norm = self.linear(operator).signal_norm(operator), operator_norm_bound(operator)
        terms = self.terms(operator).detach().sum() * norm**2
        return float((first**2 + terms).sqrt()) * (1 + 1e-12)

    def lipschitz_tensor(self, operator: Operator) -> Tensor:
        return (self.linear(operator).norm_tensor().square() + self.terms(operator).sum()).sqrt()

    def terms(self, operator: Operator) -> Tensor:
        """t/(2 - t ||A||²) of each step. Raises: NoConstant: ||A|| is too large."""
        squared, t = operator_norm_bound(operator) ** 2, self.sizes()
        if bool((t * squared >= 2).any()):
            raise NoConstant(f"||A|| = {math.sqrt(squared):.3g}: the step sizes of this network need ||A||² below 2")
        return t / (2 - t * squared)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """Rounding in float64: of each step, enlarged by the constants of the steps after it (all at most 1)."""
        linear, norm = self.linear(operator), operator_norm_bound(operator)
        measured = float(y.double().flatten(1).norm(dim=1).max()) + eps
        pixels = y[0].numel() / len(linear.weight) * self.block**2
        grey, first = GREY * math.sqrt(pixels), linear.norm()
        offset = float(linear.offset.detach().double().norm()) * math.sqrt(pixels) / self.block
        size = first * measured + offset
        # Sums of block² or m products; absolute values enlarge a norm by at most the root of the rank.
        n = self.block**2 + len(linear.weight) + 16
        gamma = n * UNIT / (1 - n * UNIT) * math.sqrt(len(linear.weight))
        error = gamma * size
        for k, step in enumerate(self.steps):
            assert isinstance(step, PotentialStep)
            if k:
                error += 2 * gamma * norm * (measured + norm * size) + 4 * UNIT * size
                size = math.hypot(size, norm * measured) + norm * measured
            error += step.rounding(size + grey, 1.0) + 4 * UNIT * (size + grey)
            size += 2 * grey + error
        return error
