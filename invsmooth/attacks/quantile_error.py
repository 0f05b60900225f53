"""The error that the percentile certificates bound, as an attack's loss: a quantile over draws of the per-draw error."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from invsmooth.attacks.objectives import SmoothedError


@dataclass(frozen=True)
class QuantileError:
    """The q-quantile (rank ceil(q S) of S, the lower median for q = 1/2) of l( f(y_{x+xi+delta_k}), x ) over draws delta_k.

    Its gradient is that of one draw, which says little about the others. The search follows the mean gradient of the
    ``n_around`` draws with the ranks nearest to the quantile's instead; 1 gives the exact gradient.

    Attributes:
        smoothed: f, A, x, b, sigma, the draws and their chunks.
        q: in (0, 1).
        n_around: draws whose gradients are averaged; None for all.
    """

    smoothed: SmoothedError
    q: float = 0.5
    n_around: int | None = None

    def value(self, xi: Tensor) -> Tensor:
        return self.quantile(self.losses(xi, self.smoothed.draw()))

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        noise = self.smoothed.draw()
        losses = self.losses(xi, noise)
        around = self.around(losses)
        chosen = torch.stack([n[k] for n, k in zip(noise, around, strict=True)])
        _, gradient = dataclasses.replace(self.smoothed, draw=lambda: chosen, smoothing="loss").value_and_gradient(xi)
        return self.quantile(losses), gradient

    def losses(self, xi: Tensor, noise: Tensor) -> Tensor:
        """l of each draw, shape (B, S), without gradients."""
        with torch.no_grad():
            parts = [self.smoothed.losses(self.smoothed.reconstructions(xi, n)) for n in self.smoothed.chunks(noise)]
        return torch.cat(parts, 1)

    def quantile(self, losses: Tensor) -> Tensor:
        return losses.kthvalue(math.ceil(self.q * losses.shape[1]), dim=1).values

    def around(self, losses: Tensor) -> Tensor:
        """The draws with the ranks nearest to the quantile's, shape (B, n_around)."""
        n_samples = losses.shape[1]
        width = min(self.n_around or n_samples, n_samples)
        first = math.ceil(self.q * n_samples) - 1 - (width - 1) // 2
        first = max(0, min(first, n_samples - width))
        return losses.argsort(dim=1, stable=True)[:, first : first + width]
