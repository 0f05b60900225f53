"""NullSpace: unrolled gradient and denoising steps with a proven Lipschitz constant (SPEC section 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.lipnet import GREY
from invsmooth.estimators.lmmse import LMMSE
from invsmooth.lipschitz.constants import operator_norm_bound
from invsmooth.lipschitz.rounding import UNIT, largest_norm
from invsmooth.lipschitz.steps import PotentialStep
from invsmooth.operators.base import Operator
from invsmooth.operators.block_gaussian import BlockGaussian


class NullSpace(nn.Module):
    """x_0 = D_0(Wy + c), then x_k = D_k(x_{k-1} + t_k A^T(y - A x_{k-1})) for k = 1 … ``n_phases`` - 1.

    W and c are fitted to the training images (:class:`LMMSE`), the D_k are 1-Lipschitz
    (:class:`invsmooth.lipschitz.steps.PotentialStep`), the t_k in (0, 1) are learned. With t = 1 and A with orthonormal
    rows a step replaces the part of x that A sees by A^T y and keeps the part in the null space of A (Schwab et al. 2019).

    The constant. Let dy, dx be differences of two measurements and of two images, a_i and c_i their coordinates along the
    singular vectors of A, and s_i its singular values. The step before D maps them to (1 - t s_i²) a_i + t s_i c_i where
    s_i > 0, and leaves a_i else. The largest value of ((1 - t s²) a + t s c)² - a² over a is c² t/(2 - t s²). So

        L_k² <= L_{k-1}² + t_k/(2 - t_k ||A||²),  L_0 = ||W||,

    where t_k ||A||² < 2. With orthonormal rows and t = 1: L² = ||W||² + n_phases - 1. In signal space c_i is s_i times a
    coordinate of the change of the signal, which gives ||A||² times that term, and L_0 = ||WA||.

    Args:
        ratios, block, limit: of W, see :class:`invsmooth.estimators.LMMSE`.
        filters, kernel, group: of each D_k.
    Raises: ValueError: a size out of range."""

    def __init__(
        self, ratios: float | list[float] = 1.0, block: Count | None = None, n_phases: Count = 8, filters: Count = 32,
        kernel: int = 7, limit: Positive | None = 3.4, group: Count = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_phases < 1:
            raise ValueError(f"n_phases={n_phases} has to be at least 1")
        self.n_phases, self.filters, self.kernel = n_phases, filters, kernel
        self.start = LMMSE(ratios, block, limit)
        self.steps = nn.ModuleList(PotentialStep(filters, kernel, group) for _ in range(n_phases))
        self.step_sizes = nn.Parameter(torch.zeros(n_phases - 1))  # t = sigmoid

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Reconstruct images (B, C, H, W), each channel on its own, with the pad that completes their blocks."""
        inner = operator.uncropped() if isinstance(operator, BlockGaussian) else operator
        x = self.denoise(0, self.start(y, inner))
        for k, t in enumerate(self.sizes().to(x), 1):
            x = self.denoise(k, x + t * inner.A_adjoint(y - inner.A(x)))
        return operator.crop(x) if isinstance(operator, BlockGaussian) else x

    def check_operator(self, operator: Operator) -> None:
        """Raises: PremiseError: another operator or ratio. NoConstant: ||A|| is too large."""
        self.start.check_operator(operator)
        self.terms(operator)

    def denoise(self, k: int, x: Tensor) -> Tensor:
        return self.steps[k](x - GREY) + GREY

    def sizes(self) -> Tensor:
        """The t_k, float64."""
        return self.step_sizes.double().sigmoid()

    # Fitting and training.

    @property
    def fitted(self) -> bool:
        return self.start.fitted

    def fit(self, images: Tensor, operators: Sequence[Operator], sigma_b: float) -> None:
        """Each W in closed form; see :meth:`LMMSE.fit`."""
        self.start.fit(images, operators, sigma_b)

    def project(self) -> None:
        self.start.project()

    # The constant.

    def lipschitz(self, operator: Operator) -> float:
        return float(self.lipschitz_tensor(operator).detach()) * (1 + 1e-12)

    def lipschitz_signal(self, operator: Operator) -> float:
        first, norm = self.start.lipschitz_signal(operator), operator_norm_bound(operator)
        terms = self.terms(operator).detach().sum() * norm**2
        return float((first**2 + terms).sqrt()) * (1 + 1e-12)

    def lipschitz_tensor(self, operator: Operator) -> Tensor:
        return (self.start.lipschitz_tensor(operator).square() + self.terms(operator).sum()).sqrt()

    def terms(self, operator: Operator) -> Tensor:
        """t/(2 - t ||A||²) of each step. Raises: NoConstant: ||A|| is too large."""
        squared, t = operator_norm_bound(operator) ** 2, self.sizes()
        if bool((t * squared >= 2).any()):
            raise NoConstant(f"||A|| = {math.sqrt(squared):.3g}: the step sizes of this network need ||A||² below 2")
        return t / (2 - t * squared)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """Rounding in float64: of each step, enlarged by the constants of the steps after it (all at most 1)."""
        linear, norm = self.start.map(operator), operator_norm_bound(operator)
        measured, m = largest_norm(y, eps), len(linear.weight)
        channels = operator.A_adjoint(y[:1]).shape[1]
        blocks = y[0].numel() / m + channels * (sum(y.shape[-2:]) + 1)  # the pad may complete some
        pixels = blocks * linear.block**2
        error = linear.rounding(y, eps) * math.sqrt(2)  # the pad adds blocks without measurements
        size = linear.norm() * measured + float(linear.offset.detach().double().norm()) * math.sqrt(blocks)
        # A and its adjoint add at most block² or m products; absolute values enlarge a norm at most by the root of the rank.
        n = linear.block**2 + m + 16
        gamma = n * UNIT / (1 - n * UNIT) * math.sqrt(m)
        for k, step in enumerate(self.steps):
            assert isinstance(step, PotentialStep)
            if k:
                error += 2 * gamma * norm * (measured + norm * size) + 4 * UNIT * size
                size += norm * (measured + norm * size)
            grey = GREY * math.sqrt(pixels)
            error += step.rounding(size + grey, 1.0) + 4 * UNIT * (size + grey)
            size += 2 * grey + error
        return error
