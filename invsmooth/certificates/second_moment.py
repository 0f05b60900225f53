"""The largest eigenvalue of the second moment M = sum_k v_k v_k^T of vectors that are read in
blocks, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal
from scipy.stats import beta as beta_distribution
from torch import Tensor

from invsmooth.certificates.variance_constrained import EIGENVALUE_FAILURE

Blocks = Callable[[], Iterator[Tensor]]  # Reads the vectors from the first to the last: float64, shape (k, n)

SMALL, SMALL_BYTES = 1024, 2**26  # M is formed up to this vector length, the Gram matrix up to this number and memory
ROUNDING = 1e-10  # Relative to the trace: more than the error of a matrix summed in float64 and its eigenvalues
STARTS = 8
"""Of the iteration at a time: reading the vectors costs more than multiplying with eight of them,
and that all eight miss the leading eigenvector is far less likely than that one does."""
TOLERANCE = 1e-3  # Relative distance of the bound to the eigenvalue, at which the iteration stops
MOST_PASSES = 60  # Passes over the vectors after which the bound is taken as loose as it is


def largest_eigenvalue(blocks: Blocks, count: int, n: int, generator: np.random.Generator,
                       device: torch.device | str = "cpu") -> float:  # fmt: skip
    """An upper bound of lambda_max(M) for ``count`` vectors of length ``n``: where these are SMALL
    the eigenvalue itself, up to rounding, else that of :func:`lanczos_bound`. Memory: two blocks,
    and 4·STARTS vectors or SMALL_BYTES. ``generator``: independent of the vectors."""
    if n <= SMALL:
        matrix = torch.zeros(n, n, dtype=torch.float64, device=device)
        for block in blocks():
            matrix.addmm_(block.T, block)
    elif count <= SMALL and 8 * count * n <= SMALL_BYTES:
        vectors, filled = torch.empty(count, n, dtype=torch.float64, device=device), 0
        for block in blocks():
            vectors[filled : filled + len(block)] = block
            filled += len(block)
        matrix = vectors @ vectors.T
    else:

        def product(q: Tensor) -> Tensor:
            total = torch.zeros_like(q)
            for block in blocks():
                total.addmm_(block.T, block @ q)
            return total

        return lanczos_bound(product, n, generator, device)
    return float(torch.linalg.eigvalsh(matrix)[-1].clamp_min(0) + ROUNDING * matrix.trace())


def lanczos_bound(product: Callable[[Tensor], Tensor], n: int, generator: np.random.Generator,
                  device: torch.device | str = "cpu") -> float:  # fmt: skip
    """An upper bound of the largest eigenvalue lambda of a positive semidefinite n × n matrix M,
    given by its products.

    It fails with a probability of at most EIGENVALUE_FAILURE over the random starts, and is
    TOLERANCE above the largest Ritz value, unless MOST_PASSES do not suffice (docs/theory.md).
    From each start q_1 the Lanczos recurrence gives Ritz values theta_j and off-diagonals beta_j,
    and for a unit eigenvector u of lambda > theta_max it is at most the root of prod_j (lambda -
    theta_j) = beta_1 … beta_k / |<u, q_1>|. With probability 1 - EIGENVALUE_FAILURE one of the
    independent starts has |<u, q_1>| above a known number, and the largest of their roots bounds
    lambda. Nothing here needs the q_j to stay orthogonal. (That of Kuczyński & Woźniakowski, SIAM
    J. Matrix Anal. Appl. 1992, holds for every matrix and any number of steps, this one for the
    matrix met, for which it is tighter.) ``product``: M q of q, shape (n, columns), float64."""
    columns = min(STARTS, n)
    overlap = least_overlap(n, columns, EIGENVALUE_FAILURE) / 2  # half of it is left to rounding
    q = torch.from_numpy(generator.standard_normal((n, columns))).to(device)
    q /= q.norm(dim=0)
    before, off = torch.zeros_like(q), torch.zeros(columns, dtype=torch.float64, device=device)
    alphas, betas = np.empty((columns, 0)), np.empty((columns, 0))
    bound, reached = 0.0, False
    while not reached and alphas.shape[1] < MOST_PASSES:
        w = product(q).addcmul_(before, off, value=-1)
        alpha = (q * w).sum(0)
        w.addcmul_(q, alpha, value=-1)
        off = w.norm(dim=0)
        before, q = q, w / off.clamp_min(1e-300)
        alphas = np.column_stack([alphas, alpha.cpu().numpy()])
        betas = np.column_stack([betas, off.cpu().numpy()])
        ritz = np.stack([eigvalsh_tridiagonal(a, b[:-1]) for a, b in zip(alphas, betas, strict=True)])
        bound = (1 + TOLERANCE) * max(0.0, float(ritz.max()))
        reached = above(bound, ritz, betas, overlap)
    while not above(bound, ritz, betas, overlap):
        bound *= 1 + TOLERANCE
    return bound


def least_overlap(n: int, columns: int, failure: float) -> float:
    """What the largest of ``columns`` independent |<u, q>|, q uniform on the unit sphere, is
    above with probability 1 - ``failure``: <u, q>² has the distribution Beta(1/2, (n - 1)/2)."""
    return math.sqrt(beta_distribution.ppf(failure ** (1 / columns), 0.5, (n - 1) / 2))


def above(bound: float, ritz: np.ndarray, betas: np.ndarray, overlap: float) -> bool:
    """Whether prod_j (bound - theta_j) >= beta_1 … beta_k / overlap for all starts; ``ritz`` and
    ``betas``: (start, k)."""
    with np.errstate(divide="ignore"):
        return bool((np.log(bound - ritz).sum(1) >= np.log(betas).sum(1) - math.log(overlap)).all())
