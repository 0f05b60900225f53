"""The quantile of the error over draws, which percentile certificates bound, as a loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from invsmooth.attacks.objectives import SmoothedError


@dataclass(frozen=True)
class QuantileError:
    """The q-quantile of l( f(y_{x+xi+delta_k}), x ) over draws delta_k.

    The gradient of one draw says little about the others. The search therefore follows the mean
    gradient of all draws, which attacks best (docs/attacks.md), or of the ``n_around`` draws with
    the ranks nearest to the quantile's; 1 gives the exact gradient."""

    smoothed: SmoothedError
    q: float = 0.5
    n_around: int | None = None

    def value(self, xi: Tensor) -> Tensor:
        with torch.no_grad():
            return self.quantile(self.smoothed.losses(xi, self.smoothed.draw()))

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        noise = self.smoothed.draw()
        if self.n_around is None:
            losses, gradient = self.smoothed.losses_and_gradient(xi, noise)
        else:
            with torch.no_grad():
                losses = self.smoothed.losses(xi, noise)
            chosen = torch.stack([n[k] for n, k in zip(noise, self.around(losses, self.n_around), strict=True)])
            _, gradient = self.smoothed.losses_and_gradient(xi, chosen)
        return self.quantile(losses), gradient

    def quantile(self, losses: Tensor) -> Tensor:
        return losses.kthvalue(quantile_rank(self.q, losses.shape[1]), dim=1).values

    def around(self, losses: Tensor, width: int) -> Tensor:
        """The draws with the ranks nearest to the quantile's, shape (B, width)."""
        width, n_samples = min(width, losses.shape[1]), losses.shape[1]
        first = max(0, min(quantile_rank(self.q, n_samples) - 1 - (width - 1) // 2, n_samples - width))
        return losses.argsort(dim=1, stable=True)[:, first : first + width]


def quantile_rank(q: float, n_samples: int) -> int:
    """Rank (1-based) of the draw for the q-quantile: ceil(q S); for q = 1/2, the lower median."""
    # Without the floor a rounded product like 0.7 · 10 would count one too many.
    return max(1, math.ceil(q * n_samples - 1e-9))
