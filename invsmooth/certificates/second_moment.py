"""The largest eigenvalue of the second moment of a stream of vectors, in bounded memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SKETCH_BYTES = 2**29
"""Memory of the rows: 1024 kept rows of 256 x 256 pixels."""
MOST_ROWS = 1024
"""Kept rows at most: the eigendecomposition of twice as many stays within seconds."""

FLOAT32 = 2.0**-24
"""Relative rounding error of a row stored in float32."""
FLOAT64 = 1e-10
"""More than the error of a Gram matrix summed in float64 and of its eigenvalues, relative to its trace."""


class SecondMoment:
    """An upper bound of the largest eigenvalue of M = sum_k v_k v_k^T, in one pass over the v_k of length n.

    Frequent Directions (Ghashami et al., SIAM J. Comput. 2016): up to 2l rows are kept; when they are full they are rotated
    to their principal axes, and the (l+1)-th eigenvalue is taken off all of them, which leaves l rows. The sum of
    what was taken off, ``shrunk``, keeps M <= rows^T rows + shrunk·I. So nothing is lost while there are at
    most 2l vectors, or where n <= l; beyond that the bound is loose by at most (the trace beyond the first l/2)·2/l.
    Rounding is added, so that the result is not below the exact value.

    Args:
        n: length of the vectors.
        n_vectors: how many will come at most: no more rows are reserved.
        n_rows: l; None chooses it by the memory, SKETCH_BYTES.
        device: where the rows are.
    """

    def __init__(self, n: int, n_vectors: int, n_rows: int | None = None, device: torch.device | str = "cpu") -> None:
        self.n_rows = n_rows or max(8, min(MOST_ROWS, n, SKETCH_BYTES // (2 * 4 * n)))
        self.rows = torch.empty(min(2 * self.n_rows, n_vectors), n, device=device)
        self.filled, self.shrunk, self.trace = 0, 0.0, 0.0

    def add(self, vectors: Tensor) -> None:
        """Take in vectors (k, n), float64."""
        self.trace += float(vectors.square().sum())
        while len(vectors):
            if self.filled == len(self.rows):
                self.shrink()
            taken = vectors[: len(self.rows) - self.filled]
            self.rows[self.filled : self.filled + len(taken)] = taken
            self.filled += len(taken)
            vectors = vectors[len(taken) :]

    def largest_eigenvalue(self) -> float:
        """An upper bound of lambda_max(M)."""
        gram = self.gram()
        top = float(torch.linalg.eigvalsh(gram)[-1]) + FLOAT64 * self.trace
        return (math.sqrt(top + self.shrunk) + FLOAT32 * math.sqrt(self.trace)) ** 2

    def shrink(self) -> None:
        gram = self.gram()
        eigenvalues, axes = torch.linalg.eigh(gram)
        cut = eigenvalues[-self.n_rows - 1].clamp_min(0)
        left = (eigenvalues[-self.n_rows :] - cut).clamp_min(0)
        axes = axes[:, -self.n_rows :] * (left / eigenvalues[-self.n_rows :].clamp_min(1e-300)).sqrt()
        for columns in self.columns():
            self.rows[: self.n_rows, columns] = (axes.T @ self.rows[:, columns].double()).float()
        rounding = 2 * FLOAT32 * float(left.max() * left.sum()) ** 0.5 + FLOAT32**2 * float(left.sum())
        self.shrunk += float(cut) + rounding + FLOAT64 * float(gram.trace())
        self.filled = self.n_rows

    def gram(self) -> Tensor:
        """rows rows^T in float64, summed over blocks of columns."""
        gram = torch.zeros(self.filled, self.filled, dtype=torch.float64, device=self.rows.device)
        for columns in self.columns():
            block = self.rows[: self.filled, columns].double()
            gram.addmm_(block, block.T)
        return gram

    def columns(self, size: int = 2048) -> list[slice]:
        return [slice(j, j + size) for j in range(0, self.rows.shape[1], size)]
