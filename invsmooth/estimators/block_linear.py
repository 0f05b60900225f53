"""A linear map of the measurements of each block of pixels to the block, fitted to training images in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.core.errors import PremiseError
from invsmooth.core.parameters import Count, Positive
from invsmooth.lipschitz.norms import matrix_norm, matrix_norm_tensor
from invsmooth.operators.base import Operator
from invsmooth.operators.block_gaussian import BlockGaussian, measurements_per_block
from invsmooth.operators.identity import Identity


class BlockLinear(nn.Module):
    """x_hat_j = W y_j + c for each ``block`` × ``block`` patch j of the image and its measurements y_j.

    The operator is a :class:`BlockGaussian` with this block and ratio, or A = I with ratio 1: y_j are then
    the pixels of the patch, and an image is padded with zeros to whole blocks and cropped at the end.

    W is kept transposed, as the weight (m, 1, block, block) of a transposed convolution. W = 0 stands for
    a map that was not fitted yet.

    Args:
        ratio: compression ratio m/n of the operator.
        limit: largest singular value that W may have, or None.
    Raises: ValueError: ratio outside (0, 1]."""

    def __init__(self, ratio: float, block: Count = 33, limit: Positive | None = None) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} is not in (0, 1]; write 0.5 for 50 %")
        self.ratio, self.block, self.limit = float(ratio), block, limit
        self.weight = nn.Parameter(torch.zeros(measurements_per_block(ratio, block), 1, block, block))
        self.offset = nn.Parameter(torch.zeros(1, 1, block, block))

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images (B, 1, H, W) from the measurements. Raises: PremiseError: see :meth:`matrix`, or not fitted yet."""
        self.matrix(operator)
        self.check_fitted()
        measured = y if isinstance(operator, BlockGaussian) else F.pixel_unshuffle(whole(y, self.block), self.block)
        x = F.conv_transpose2d(measured, self.weight, stride=self.block)
        x = x + self.offset.repeat(1, 1, *measured.shape[-2:])
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
        where that is singular), its singular values then clipped at ``limit``, and c = m - W Phi m.

        Args:
            images: shape (B, 1, H, W), on the [0, 1] scale; better more blocks than a block has pixels.
            sigma_b: standard deviation of b, on the same scale.
        Raises: PremiseError: see :meth:`matrix`. ValueError: fewer than two whole blocks, or all alike."""
        phi = self.matrix(operator).to(self.weight.device, torch.float64)
        blocks = whole_blocks(images.to(phi), self.block)
        if len(blocks) < 2 or not bool((blocks != blocks[0]).any()):
            raise ValueError(f"a fit needs different training blocks of {self.block}×{self.block}; found {len(blocks)}")
        mean = blocks.mean(0)
        covariance = (blocks - mean).T @ (blocks - mean) / len(blocks)
        cross = phi @ covariance
        of_y = cross @ phi.T + sigma_b**2 * torch.eye(len(phi)).to(phi)
        self.weight.copy_((torch.linalg.pinv(of_y, hermitian=True) @ cross).view_as(self.weight))
        self.project()
        self.offset.copy_((mean - phi @ mean @ self.weight.flatten(1).double()).view_as(self.offset))

    @torch.no_grad()
    def project(self) -> None:
        """Clip the singular values of W at ``limit``: the nearest matrix that keeps it (Frobenius norm)."""
        if self.limit is None:
            return
        w = self.weight.flatten(1).double()
        squared, vectors = torch.linalg.eigh(w @ w.T)
        shrink = (self.limit / squared.clamp_min(self.limit**2).sqrt()).clamp_max(1)
        if bool((shrink < 1).any()):
            self.weight.copy_(((vectors * shrink) @ vectors.T @ w).view_as(self.weight))

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

    def check_fitted(self) -> None:
        if not bool(self.weight.any()):
            raise PremiseError(
                "the linear map was not fitted to training images: load trained weights (ckpt=), or train it"
            )


def whole(x: Tensor, block: int) -> Tensor:
    """Images padded with zeros at the right and the bottom to whole blocks."""
    return F.pad(x, (0, -x.shape[-1] % block, 0, -x.shape[-2] % block))


def whole_blocks(images: Tensor, block: int) -> Tensor:
    """The blocks (N, block²) of images (B, 1, H, W), pixels row by row; rests at the right and the bottom are left out."""
    return F.unfold(images, block, stride=block).transpose(1, 2).flatten(0, 1)
