"""A dense matrix for images of one size."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from invsmooth.core.parameters import Count, check_parameters
from invsmooth.core.rng import standard_normal
from invsmooth.lipschitz.norms import matrix_norm
from invsmooth.operators.base import LinearOperator
from invsmooth.operators.block_gaussian import measurements_per_block
from invsmooth.operators.matrices import MatrixFile, read_matrix


class Dense(LinearOperator):
    """y = Phi x for images (B, C, side, side), pixels row by row, each channel alone; y has shape (B, C, m).

    Args:
        ratio: m/n. May be above 1.
        side: of the images, in pixels.
        seed: of a Gaussian matrix with independent entries N(0, 1/m), m = round(ratio · side²).
        matrix: Phi itself, shape (m, side²), an array or the path of a .npy or .mat file. ``ratio`` has to fit it.
    Raises: ValueError: a ratio that is not positive, a matrix of another shape, or, in ``A``, an image of another size."""

    name = "dense"
    phi: Tensor

    def __init__(
        self,
        ratio: float = 0.5,
        side: Count = 16,
        seed: int = 0,
        matrix: np.ndarray | Tensor | MatrixFile | None = None,
    ) -> None:
        super().__init__()
        check_parameters(Dense, {"ratio": ratio})
        if not ratio > 0:
            raise ValueError(f"ratio={ratio} has to be positive")
        self.ratio, self.side, self.seed, self.matrix = float(ratio), side, seed, matrix
        m, n = measurements_per_block(ratio, side), side**2
        phi = standard_normal((m, n), seed, "dense") / m**0.5 if matrix is None else read_matrix(matrix)
        if phi.shape != (m, n):
            raise ValueError(f"matrix has shape {tuple(phi.shape)}, but ratio={ratio} and side={side} need ({m}, {n})")
        self.register_buffer("phi", phi, persistent=False)

    def A(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.side, self.side):
            wanted = f"{self.side}×{self.side}"
            remedy = "set data.crop and task.patch_size"
            raise ValueError(f"the operator is for images of {wanted} pixels, not {tuple(x.shape[-2:])}: {remedy}")
        return x.flatten(2) @ self.phi.T.to(x.dtype)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.phi.to(y.dtype)).unflatten(2, (self.side, self.side))

    def norm(self) -> float:
        """||A||, from above: the largest singular value of Phi."""
        return matrix_norm(self.phi)
