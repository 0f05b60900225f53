"""A lower confidence bound of a mean (Waudby-Smith & Ramdas 2024, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_LOST = 0.9  # The most that one draw may take off the product, as a fraction of it


def mean_lower_bound(values: Tensor, *, lowest: Tensor, variance: Tensor, confidence: float) -> Tensor:
    """A number that the mean of each row's distribution is at least, with ``confidence``.

    Let P(m) be the product of 1 + lambda_t (Y_t - m) over the draws t, where lambda_t depends on
    draws before t alone. At the true mean its expectation is 1, so that by Markov's inequality it
    reaches 1/(1 - c) with probability at most 1 - c. The bound is the largest m at which it did. It
    assumes no normality, only Y_t >= ``lowest``, and is about sqrt(2 s² log(1/(1-c)) / n) below the
    sample mean for a variance s².

    Args:
        values: independent draws, shape (B, n), the rows in any unit.
        lowest: the least value that a row's distribution can give, shape (B,).
        variance: a guess at each row's variance, shape (B,), from other data than ``values``, for
            how tight the bound is; it matters less with each draw.
    Returns: shape (B,), float64; at least ``lowest``."""
    values, lowest = values.double(), lowest.double()
    n, needed = values.shape[1], math.log(1 / (1 - confidence))
    place = torch.arange(1, n + 1, dtype=torch.float64, device=values.device)
    squares = (values - values.cumsum(1) / place).square()
    spread = (variance.double()[:, None] + squares.cumsum(1) - squares) / place
    wanted = (2 * needed / (n * spread.clamp_min(1e-30))).sqrt()
    low, high = lowest, values.amax(1)
    for _ in range(60):  # the product falls in m: bisection
        m = (low + high) / 2
        factor = torch.minimum(wanted, (MOST_LOST / (m - lowest).clamp_min(1e-30))[:, None])
        reached = torch.log1p(factor * (values - m[:, None])).sum(1) >= needed
        low, high = torch.where(reached, m, low), torch.where(reached, high, m)
    return low
