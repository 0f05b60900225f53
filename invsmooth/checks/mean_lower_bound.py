"""A lower confidence bound of a mean by mean_lower_bound (Waudby-Smith & Ramdas 2024, section
3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STAKE = 0.9
"""The most of its money that a bet may lose."""


def mean_lower_bound(values: Tensor, *, lowest: Tensor, variance: Tensor, confidence: float) -> Tensor:
    """What the mean of each row's distribution is at least, with probability ``confidence``.

    Someone who doubts that the mean is m stakes the share lambda_t of his money on draw t: it grows
    by 1 + lambda_t (Y_t - m). At the true mean the game is fair, so that by Markov's inequality it
    multiplies the money by 1/(1 - c) with probability at most 1 - c. The bound is the largest m at
    which it did. No normality is assumed, only Y_t >= ``lowest``; the bound falls short of the
    sample mean by about sqrt(2 s² log(1/(1-c)) / n) for a variance s².

    Args:
        values: independent draws, shape (B, n), the rows in any unit.
        lowest: the least value that a row's distribution can give, shape (B,).
        variance: a guess at each row's variance, shape (B,), made without ``values``. It only
            matters to how tight the bound is, and less with each draw.
        confidence: c, one-sided.
    Returns: shape (B,), float64; at least ``lowest``.
    """
    values, lowest = values.double(), lowest.double()
    n = values.shape[1]
    place = torch.arange(1, n + 1, dtype=torch.float64, device=values.device)
    # lambda_t may depend on the draws before t alone.
    squares = (values - values.cumsum(1) / place).square()
    spread = (variance.double()[:, None] + squares.cumsum(1) - squares) / place
    ambition = (2 * math.log(1 / (1 - confidence)) / (n * spread.clamp_min(1e-30))).sqrt()
    low, high = lowest, values.amax(1)
    for _ in range(60):  # the money falls in m: bisection
        m = (low + high) / 2
        bet = torch.minimum(ambition, (STAKE / (m - lowest).clamp_min(1e-30))[:, None])
        money = torch.log1p(bet * (values - m[:, None])).sum(1)
        rich = money >= math.log(1 / (1 - confidence))
        low, high = torch.where(rich, m, low), torch.where(rich, high, m)
    return low
