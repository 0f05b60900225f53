"""NullSpace: unrolled gradient and denoising steps with a proven Lipschitz constant (SPEC section 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.lipnet import GREY, Constant
from invsmooth.estimators.lmmse import LMMSE
from invsmooth.lipschitz.constants import operator_norm_bound
from invsmooth.lipschitz.rounding import UNIT, largest_norm
from invsmooth.lipschitz.steps import PotentialStep
from invsmooth.operators.base import Operator
from invsmooth.operators.block_gaussian import BlockGaussian


class NullSpace(nn.Module):
    """x_0 = D_0(Wy + c), then x_k = D_k(x_{k-1} + t_k A^T(y - A x_{k-1})) for k = 1 … ``n_phases`` - 1.

    W and c are fitted to the training images (:class:`LMMSE`). The D_k have constants g_k
    (:class:`invsmooth.lipschitz.steps.PotentialStep`). The t_k in (0, 1) are learned. With t = 1 and A with orthonormal
    rows a step replaces the part of x that A sees by A^T y and keeps the part in the null space of A (Schwab et al. 2019).

    The constant. Let dy, dx be differences of two measurements and of two images, a_i and c_i their coordinates along the
    singular vectors of A, and s_i its singular values. The step before D maps them to (1 - t s_i²) a_i + t s_i c_i where
    s_i > 0, and leaves a_i else. The largest value of ((1 - t s²) a + t s c)² - a² over a is c² t/(2 - t s²). So

        L_k² <= g_k² (L_{k-1}² + t_k/(2 - t_k ||A||²)),  L_0 = g_0 ||W||,

    where t_k ||A||² < 2. With orthonormal rows, t = 1 and all g = 1: L² = ||W||² + n_phases - 1. In
    signal space c_i is s_i times a coordinate of the change of the signal, which gives ||A||² times that term, and
    L_0 = g_0 ||WA||.

    Args:
        ratios, block, limit: of W, see :class:`invsmooth.estimators.LMMSE`.
        filters, kernel, group: of each D_k.
        growth: the product of all g_k, at least 1; null: it is learned (``algo=certified`` weighs it against the error). It
            is shared out as :class:`invsmooth.estimators.LipNet` does.
    Raises: ValueError: a size out of range."""

    def __init__(
        self, ratios: float | list[float] = 1.0, block: Count | None = None, n_phases: Count = 8, filters: Count = 32,
        kernel: int = 7, limit: Positive | None = 3.4, group: Count = 1, growth: Constant | None = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_phases < 1:
            raise ValueError(f"n_phases={n_phases} has to be at least 1")
        if growth is not None and growth < 1:
            raise ValueError(f"growth={growth} has to be at least 1")
        self.n_phases, self.filters, self.kernel, self.growth = n_phases, filters, kernel, growth
        self.start = LMMSE(ratios, block, limit)
        self.steps = nn.ModuleList(PotentialStep(filters, kernel, group) for _ in range(n_phases))
        if growth != 1:
            self.shares = nn.Parameter(torch.zeros(n_phases))
        if growth is None:
            self.log_growth = nn.Parameter(torch.tensor(math.log(0.2)))  # 1 + exp(log_growth)
        self.step_sizes = nn.Parameter(torch.zeros(n_phases - 1))  # t = sigmoid

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Reconstruct images (B, 1, H, W). They are processed with the pad that completes their blocks."""
        inner = operator.uncropped() if isinstance(operator, BlockGaussian) else operator
        growths = self.growths()
        x = self.denoise(0, self.start(y, inner), growths[0])
        for k, t in enumerate(self.sizes().to(x), 1):
            x = self.denoise(k, x + t * inner.A_adjoint(y - inner.A(x)), growths[k])
        return operator.crop(x) if isinstance(operator, BlockGaussian) else x

    def check_operator(self, operator: Operator) -> None:
        """Raises: PremiseError: another operator or ratio. NoConstant: ||A|| is too large."""
        self.start.check_operator(operator)
        self.terms(operator)

    def denoise(self, k: int, x: Tensor, growth: Tensor) -> Tensor:
        return self.steps[k](x - GREY, growth) + GREY

    def growths(self) -> Tensor:
        """The constant g_k of each D_k, float64."""
        if self.growth == 1:
            return self.step_sizes.new_ones(self.n_phases, dtype=torch.float64)
        total = self.growth if self.growth is not None else 1 + self.log_growth.double().exp()
        return total ** self.shares.double().softmax(0)

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
        norm = operator_norm_bound(operator)
        first = torch.tensor(self.start.lipschitz_signal(operator), dtype=torch.float64)
        return float(self.recursion(first, norm**2 * self.terms(operator)).detach()) * (1 + 1e-12)

    def lipschitz_tensor(self, operator: Operator) -> Tensor:
        return self.recursion(self.start.lipschitz_tensor(operator), self.terms(operator))

    def recursion(self, first: Tensor, terms: Tensor) -> Tensor:
        """L from L_0 = g_0 * ``first`` on."""
        growths = self.growths().square()
        squared = growths[0] * first.square()
        for growth, term in zip(growths[1:], terms, strict=True):
            squared = growth * (squared + term)
        return squared.sqrt()

    def terms(self, operator: Operator) -> Tensor:
        """t/(2 - t ||A||²) of each step. Raises: NoConstant: ||A|| is too large."""
        squared, t = operator_norm_bound(operator) ** 2, self.sizes()
        if bool((t * squared >= 2).any()):
            raise NoConstant(f"||A|| = {math.sqrt(squared):.3g}: the step sizes of this network need ||A||² below 2")
        return t / (2 - t * squared)

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """Rounding in float64: of each step, enlarged by the constants of the steps after it."""
        linear, norm = self.start.map(operator), operator_norm_bound(operator)
        measured, m = largest_norm(y, eps), len(linear.weight)
        blocks = y[0].numel() / m + sum(y.shape[-2:]) + 1  # the pad may complete some
        pixels = blocks * linear.block**2
        error = linear.rounding(y, eps) * math.sqrt(2)  # the pad adds blocks without measurements
        size = linear.norm() * measured + float(linear.offset.detach().double().norm()) * math.sqrt(blocks)
        # A and its adjoint add at most block² or m products; absolute values enlarge a norm at most by the root of the rank.
        n = linear.block**2 + m + 16
        gamma = n * UNIT / (1 - n * UNIT) * math.sqrt(m)
        for k, (step, growth) in enumerate(zip(self.steps, self.growths().tolist(), strict=True)):
            assert isinstance(step, PotentialStep)
            if k:
                error += 2 * gamma * norm * (measured + norm * size) + 4 * UNIT * size
                size += norm * (measured + norm * size)
            grey = GREY * math.sqrt(pixels)
            error = growth * error + step.rounding(size + grey, growth) + 4 * UNIT * (size + grey)
            size = growth * (size + grey) + grey + error
        return error
