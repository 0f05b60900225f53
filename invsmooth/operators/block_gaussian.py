"""Block compressed sensing: each non-overlapping block of pixels is measured by the same matrix Phi."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from invsmooth.core.parameters import Count, check_parameters
from invsmooth.core.rng import generator_for
from invsmooth.lipschitz.norms import matrix_norm
from invsmooth.operators.matrices import MatrixFile, read_matrix
from invsmooth.operators.sized import SizedOperator


class BlockGaussian(SizedOperator):
    """y_j = Phi x_j for each ``block`` x ``block`` patch x_j of the image (pixels row by row), Phi of shape (m, block²).
    Each channel of a colour image is measured so, with the same Phi.

    Phi has orthonormal rows: the QR factor of a seeded Gaussian matrix, m = round(ratio · block²) (SPEC section 2).
    The measurement has shape (B, C m, ceil(H/block), ceil(W/block)). It does not tell how much was padded:
    :class:`~invsmooth.operators.sized.SizedOperator` says what the adjoint crops to.

    Args:
        ratio: compression ratio m/n in (0, 1].
        block: block side in pixels.
        seed: of Phi; the matrix depends on (seed, ratio, block) alone.
        matrix: Phi itself, shape (m, block²), as an array or as a path to a .npy or .mat file (the one 2-d array in it).
            Its rows need not be orthonormal. m must be the one that ``ratio`` gives.
    Raises: ValueError: ratio outside (0, 1], block < 1, or a matrix that cannot be used (:func:`.read_matrix`) or of the
        wrong shape. FileNotFoundError: no file at the matrix path."""

    name = "block_gaussian"
    phi: Tensor

    def __init__(
        self, ratio: float, block: Count = 33, seed: int = 0, matrix: np.ndarray | Tensor | MatrixFile | None = None
    ) -> None:
        super().__init__()
        check_parameters(BlockGaussian, {"ratio": ratio})
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} is not in (0, 1]; write ratio=0.5 for 50 %")
        if block < 1:
            raise ValueError(f"block={block} is not a positive number of pixels")
        self.ratio, self.block, self.seed, self.matrix = float(ratio), int(block), seed, matrix
        m = measurements_per_block(ratio, block)
        phi = orthonormal_rows(m, block**2, seed) if matrix is None else read_matrix(matrix)
        if phi.shape != (m, block**2):
            raise ValueError(
                f"matrix has shape {tuple(phi.shape)}, but ratio={ratio} and block={block} need ({m}, {block**2}); "
                "it is the matrix of one ratio: set operator.ratio and operator.train_ratio to it"
            )
        # Not in checkpoints: ratio, block and seed (or the matrix file) determine it.
        self.register_buffer("phi", phi.reshape(m, 1, block, block), persistent=False)

    def A(self, x: Tensor) -> Tensor:
        """Measurements, shape (B, C m, rows of blocks, columns of blocks), of images (B, C, H, W)."""
        y = F.conv2d(self.padded(x).flatten(0, 1)[:, None], self.phi.to(x.dtype), stride=self.block)
        return y.unflatten(0, x.shape[:2]).flatten(1, 2)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Images (B, C, H, W), in the range of A^T, of measurements as :meth:`A` gives them."""
        planes = y.unflatten(1, (y.shape[1] // len(self.phi), len(self.phi))).flatten(0, 1)
        x = F.conv_transpose2d(planes, self.phi.to(y.dtype), stride=self.block)
        return self.crop(x.unflatten(0, (len(y), y.shape[1] // len(self.phi))).squeeze(2))

    def norm(self) -> float:
        """||A||, from above: the largest singular value of Phi (float64, :mod:`invsmooth.lipschitz.norms`). Padding with
        zeros and cropping do not increase it."""
        return matrix_norm(self.phi.flatten(1))


def measurements_per_block(ratio: float, block: int = 33) -> int:
    """m = round(ratio · block²), at least 1: 109, 218, 327, 436, 545 for ratios 0.1 … 0.5 and block 33."""
    # Halves go up (0.5 · 1089 = 544.5); Python's round would take them to the even number.
    return max(1, math.floor(ratio * block**2 + 0.5))


def orthonormal_rows(m: int, n: int, seed: int) -> Tensor:
    """(m, n) float32 matrix with orthonormal rows, uniformly distributed: QR of a seeded Gaussian matrix."""
    gaussian = generator_for(seed, "phi", m, n).standard_normal((n, m))
    q, r = torch.linalg.qr(torch.from_numpy(gaussian))
    # QR leaves the signs of the columns to the library; fixing them makes Phi the same on every machine.
    return (q * r.diagonal().sign()).T.float().contiguous()
