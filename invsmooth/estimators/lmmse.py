"""The best affine estimator of each block, fitted to training images in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from invsmooth.core.errors import PremiseError
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.block_linear import BlockLinear
from invsmooth.operators.base import Operator

BLOCK = 8
"""Side in pixels for operators without blocks."""


class LMMSE(nn.Module):
    """Linear minimum-mean-square estimator of each block: x_hat_j = m + W (y_j - Phi m), with
    W = C Phiᵀ (Phi C Phiᵀ + sigma_b² I)⁻¹, m and C the mean and covariance of the blocks of the training
    images. One W for each compression ratio (:class:`BlockLinear`).

    Its constant is the largest singular value of W, in signal space of W Phi. W and the offset are weights:
    every training algorithm can go on from the fit.

    Args:
        ratios: compression ratios of the operator; 1 for A = I.
        block: side of a block in pixels, that of the operator; None, for A = I: BLOCK.
        limit: largest singular value of W, or None: a smaller constant for a larger error. The fit gives the
            best W within it; in training the singular values are clipped after each step.
    Raises: ValueError: a ratio outside (0, 1]."""

    def __init__(
        self, ratios: float | list[float] = 1.0, block: Count | None = None, limit: Positive | None = None
    ) -> None:
        super().__init__()
        self.ratios = [float(r) for r in (ratios if isinstance(ratios, list | tuple) else [ratios])]
        self.maps = nn.ModuleList(BlockLinear(ratio, block or BLOCK, limit) for ratio in self.ratios)

    def each(self) -> Iterator[BlockLinear]:
        for own in self.maps:
            assert isinstance(own, BlockLinear)
            yield own

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images (B, C, H, W). Raises: PremiseError: another operator or ratio, or not fitted yet."""
        return self.map(operator)(y, operator)

    def check_operator(self, operator: Operator) -> None:
        """Raises: PremiseError: see :meth:`map`."""
        self.map(operator)

    def map(self, operator: Operator) -> BlockLinear:
        """The map for an operator. Raises: PremiseError: there is none for its ratio, or it has another block."""
        ratio = getattr(operator, "ratio", 1.0)
        if ratio not in self.ratios:
            remedy = "set operator.ratio to one of them, or train another network (estimator.ratios)"
            raise PremiseError(
                f"the linear map of this network is for the ratios {self.ratios}, and not for {ratio}: {remedy}"
            )
        found = [*self.each()][self.ratios.index(ratio)]
        found.matrix(operator)  # its check
        return found

    def fit(self, images: Tensor, operators: Sequence[Operator], sigma_b: float) -> None:
        """See :meth:`BlockLinear.fit`; ``operators``: one for each ratio."""
        for operator in operators:
            self.map(operator).fit(images, operator, sigma_b)

    @property
    def fitted(self) -> bool:
        return all(own.fitted for own in self.each())

    def project(self) -> None:
        for own in self.each():
            own.project()

    def lipschitz(self, operator: Operator) -> float:
        return self.map(operator).norm()

    def lipschitz_signal(self, operator: Operator) -> float:
        return self.map(operator).signal_norm(operator)

    def lipschitz_tensor(self, operator: Operator) -> Tensor:
        return self.map(operator).norm_tensor()

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        return self.map(operator).rounding(y, eps)
