"""Bounds of the rounding of float64 arithmetic, for the inexactness of estimators (:mod:`invsmooth.lipschitz.constants`)."""

from __future__ import annotations

import math

from torch import Tensor

UNIT = 2.0**-53
"""Relative error of one float64 operation, rounded to nearest."""


def largest_norm(y: Tensor, eps: float) -> float:
    """Upper bound of ||y'||, l2, for all y' within ``eps`` of any y of the batch."""
    return float(y.detach().double().flatten(1).norm(dim=1).max()) + eps


def product_rounding(matrix: Tensor, n_terms: int, size: float) -> float:
    """Upper bound of the l2 distance between a float64 product M v and the exact one, ||v|| <= ``size``.

    For sums of k products in any order it is gamma |M||v| in each entry, gamma = k u/(1 - k u) (Higham,
    Accuracy and Stability of Numerical Algorithms, section 3.1), and || |M| || <= ||M|| (Frobenius). For
    a block diagonal matrix of equal blocks give one block. ``n_terms``: k."""
    gamma = n_terms * UNIT / (1 - n_terms * UNIT)
    return gamma * float(matrix.detach().double().norm()) * size


def fourier_rounding(y: Tensor, eps: float, n_transforms: int) -> float:
    """Upper bound, l2, of the rounding of ``n_transforms`` Fourier transforms in float64 one after the other, each with a
    product of numbers of size <= 1, of an image of twice the sides of y, relative to the largest ||y'||.

    The relative error of one transform of N numbers is at most 7 u log2(N) to first order (Higham, Accuracy and Stability of
    Numerical Algorithms, theorem 24.2: radix 2). How a library computes other N is not specified: 10 times that."""
    n_numbers = 4 * y.shape[-2] * y.shape[-1]
    return n_transforms * 70 * UNIT * math.log2(n_numbers) * largest_norm(y, eps)
