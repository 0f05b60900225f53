"""A linear map of the measurements of each block of pixels to the block, fitted to training images in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.core.errors import DataError, PremiseError
from invsmooth.core.parameters import Count, Positive
from invsmooth.lipschitz.norms import matrix_norm, matrix_norm_tensor
from invsmooth.lipschitz.rounding import largest_norm, product_rounding
from invsmooth.operators.base import Operator
from invsmooth.operators.block_gaussian import BlockGaussian, measurements_per_block
from invsmooth.operators.identity import Identity

IMAGES_AT_ONCE = 2048
"""Of which the statistics are summed: it bounds the memory."""
ALIKE = 1e-12
"""Variance of a block, [0, 1] scale, below which training blocks count as equal."""

FIT_STEPS, SETTLED = 300, 1e-7
"""Of the fit within a limit: most steps, and the relative change after which it stops."""


class BlockLinear(nn.Module):
    """x_hat_j = W y_j + c for each ``block`` × ``block`` patch j of a channel of the image and its measurements y_j.

    The operator is a :class:`BlockGaussian` with this block and ratio, or A = I with ratio 1: y_j are then
    the pixels of the patch, and an image is padded with zeros to whole blocks and cropped at the end.

    W is kept transposed, as the weight (m, 1, block, block) of a transposed convolution. W = 0 stands for
    a map that was not fitted yet.

    Args:
        ratio: compression ratio m/n of the operator.
        limit: largest singular value that W may have, or None: the constant is at most this.
    Raises: ValueError: ratio outside (0, 1]."""

    def __init__(self, ratio: float, block: Count = 33, limit: Positive | None = None) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} is not in (0, 1]; write 0.5 for 50 %")
        self.ratio, self.block, self.limit = float(ratio), block, limit
        self.weight = nn.Parameter(torch.zeros(measurements_per_block(ratio, block), 1, block, block))
        self.offset = nn.Parameter(torch.zeros(1, 1, block, block))

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images (B, C, H, W) from the measurements. Raises: PremiseError: see :meth:`matrix`, or not fitted yet."""
        self.matrix(operator)
        self.check_fitted()
        if isinstance(operator, BlockGaussian):
            planes = y.unflatten(1, (-1, len(self.weight))).flatten(0, 1)
        else:
            planes = F.pixel_unshuffle(whole(y, self.block).flatten(0, 1)[:, None], self.block)
        x = F.conv_transpose2d(planes, self.weight, stride=self.block)
        x = x + self.offset.repeat(1, 1, *planes.shape[-2:])
        x = x.unflatten(0, (len(y), len(planes) // len(y))).squeeze(2)
        return operator.crop(x) if isinstance(operator, BlockGaussian) else x[..., : y.shape[-2], : y.shape[-1]]

    def matrix(self, operator: Operator) -> Tensor:
        """Phi, (m, block²), the operator on one block. Raises: PremiseError: it does not work on these blocks."""
        if isinstance(operator, Identity) and self.ratio == 1:
            return torch.eye(self.block**2, device=self.weight.device)
        if isinstance(operator, BlockGaussian) and operator.phi.shape == self.weight.shape:
            return operator.phi.flatten(1)
        found = type(operator).__name__ + "".join(
            f", {k} {getattr(operator, k)}" for k in ("ratio", "block") if hasattr(operator, k)
        )
        raise PremiseError(
            f"this linear map is of {len(self.weight)} measurements of each {self.block}×{self.block} block, and not "
            f"for the operator {found}"
        )

    @torch.no_grad()
    def fit(self, images: Tensor, operator: Operator, sigma_b: float) -> None:
        """Make this the affine map of least mean square error on the whole blocks of training images.

        With mean m and covariance C of the blocks: W = C Phiᵀ (Phi C Phiᵀ + sigma_b² I)⁻¹ (the pseudoinverse
        where that is singular), or with a ``limit`` the best W within it; c = m - W Phi m.

        Args:
            images: shape (B, C, H, W), on the [0, 1] scale; better more blocks than a block has pixels.
            sigma_b: standard deviation of b, on the same scale.
        Raises: PremiseError: see :meth:`matrix`. ValueError: no two different whole blocks."""
        phi = self.matrix(operator).to(self.weight.device, torch.float64)
        mean, covariance = block_statistics(images, self.block, phi)
        cross = phi @ covariance
        of_y = cross @ phi.T + sigma_b**2 * torch.eye(len(phi)).to(phi)
        w = torch.linalg.pinv(of_y, hermitian=True) @ cross
        if self.limit is not None:
            w = best_within(self.limit, of_y, cross, w)
        self.weight.copy_(w.view_as(self.weight))
        self.offset.copy_((mean - phi @ mean @ self.weight.flatten(1).double()).view_as(self.offset))

    @torch.no_grad()
    def project(self) -> None:
        """Clip the singular values of W at ``limit``: after a step of an optimiser."""
        if self.limit is not None:
            self.weight.copy_(clipped(self.weight.flatten(1).double(), self.limit).view_as(self.weight))

    @property
    def fitted(self) -> bool:
        return bool(self.weight.any())

    def norm(self) -> float:
        """The largest singular value of W, from above: the constant of this map in measurement space."""
        self.check_fitted()
        return matrix_norm(self.weight.flatten(1))

    def norm_tensor(self) -> Tensor:
        """:meth:`norm` with a gradient."""
        return matrix_norm_tensor(self.weight.flatten(1))

    def signal_norm(self, operator: Operator) -> float:
        """The same of W Phi: the constant in signal space."""
        self.check_fitted()
        # W and Phi have few columns and rows: W Phi is, but for orthogonal factors, the product of two triangles.
        of_w, of_phi = (
            torch.linalg.qr(matrix.detach().double().T, mode="r").R
            for matrix in (self.weight.flatten(1), self.matrix(operator))
        )
        return matrix_norm(of_w @ of_phi.T)

    def rounding(self, y: Tensor, eps: float) -> float:
        """Upper bound of the rounding of :meth:`forward` in float64, for all y' within ``eps`` of any y of the batch."""
        # The offset is one more term of the sums, as the last column of W and a 1 below each y_j.
        of_block = torch.cat([self.weight.flatten(1), self.offset.flatten(1)])
        at_most_blocks = y[0].numel()
        return product_rounding(of_block, len(of_block), largest_norm(y, eps) + math.sqrt(at_most_blocks))

    def check_fitted(self) -> None:
        if not self.fitted:
            raise PremiseError(
                "the linear map was not fitted to training images: load trained weights (ckpt=), or train it"
            )


def clipped(w: Tensor, limit: float) -> Tensor:
    """The nearest matrix (Frobenius norm) that has no singular value above ``limit``."""
    squared, vectors = torch.linalg.eigh(w @ w.T)
    if float(squared[-1]) <= limit**2:
        return w
    return (vectors * (limit / squared.clamp_min(limit**2).sqrt())) @ vectors.T @ w


def best_within(limit: float, of_y: Tensor, cross: Tensor, w: Tensor) -> Tensor:
    """The matrix without singular values above ``limit`` of least mean square error, trace(Wᵀ of_y W - 2 Wᵀ cross).

    Clipping the unconstrained one, ``w``, takes most from the directions in which images vary most. This is
    a convex problem: accelerated projected gradients (Beck and Teboulle 2009), restarted whenever the
    momentum points uphill (O'Donoghue and Candès 2015)."""
    # The solution has the row space of cross. In a basis of it the matrices are square.
    basis, triangle = torch.linalg.qr(cross.T)
    target, step = triangle.T, 1 / matrix_norm(of_y)
    w = ahead = clipped(w @ basis, limit)
    t = 1.0
    for _ in range(FIT_STEPS):
        previous, w = w, clipped(ahead - step * (of_y @ ahead - target), limit)
        moved = w - previous
        if float(moved.norm()) <= SETTLED * float(w.norm()):
            break
        if float(((ahead - w) * moved).sum()) > 0:
            t, ahead = 1.0, w
        else:
            t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
            t, ahead = t_next, w + (t - 1) / t_next * moved
    return w @ basis.T


def whole(x: Tensor, block: int) -> Tensor:
    """Images padded with zeros at the right and the bottom to whole blocks."""
    return F.pad(x, (0, -x.shape[-1] % block, 0, -x.shape[-2] % block))


def block_statistics(images: Tensor, block: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (block²) and covariance (block², block²) of the whole blocks of images (B, C, H, W), pixels row by row; rests at
    the right and the bottom are left out. Raises: DataError: no two different blocks."""

    planes = images.flatten(0, 1)[:, None]

    def parts() -> Iterator[Tensor]:
        for part in planes.split(IMAGES_AT_ONCE):
            yield F.unfold(part.to(like), block, stride=block).transpose(1, 2).flatten(0, 1)

    n = len(planes) * math.prod(side // block for side in images.shape[-2:])
    if n == 0:
        raise DataError(f"training patches of {tuple(images.shape[-2:])} pixels hold no block of {block}×{block}")
    mean = torch.stack([blocks.sum(0) for blocks in parts()]).sum(0) / n
    covariance = torch.stack([(blocks - mean).T @ (blocks - mean) for blocks in parts()]).sum(0) / n
    if float(covariance.trace()) < ALIKE:
        raise DataError(
            f"a fit needs different training blocks; found {n}, all alike: are the images empty, all black?"
        )
    return mean, covariance
