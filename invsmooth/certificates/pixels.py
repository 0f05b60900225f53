"""A certified interval for every pixel: percentile smoothing of each pixel's value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.certifiers import smoothed
from invsmooth.certificates.confidence import bonferroni
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.order_statistics import as_radii, is_number, ratio_of, why_none
from invsmooth.certificates.percentile import ranks
from invsmooth.core.rng import ImageKeys
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

EXTREME_BYTES = 2**28  # Memory of the extreme draws of the pixels; what does not fit takes more passes over the draws


@dataclass(frozen=True)
class PixelIntervals:
    """Certified intervals of the q-quantile of every pixel.

    Attributes:
        lower, upper: shape (B, C, H, W) where eps was given as a number, else (B, radius, C, H, W),
            [0, 1] pixel scale but not clipped to it; nan where no bound exists.
        k_lower, k_upper: for each radius the 1-based ranks among the S ascending draws; or None.
        reason: for each radius why there is no interval, "" where there is.
        network_evals: for each image."""

    lower: Tensor
    upper: Tensor
    k_lower: list[int | None]
    k_upper: list[int | None]
    reason: list[str]
    network_evals: int


def pixel_intervals(
    estimator: Estimator, operator: Operator, y: Tensor, *, sigma: float, eps: float | Sequence[float], n_samples: int,
    confidence: float = 0.99, q: float = 0.5, simultaneous: str = "none", seed: int = 0, chunk_size: int | None = None,
    image_keys: ImageKeys | None = None,
) -> PixelIntervals:  # fmt: skip
    """Bound the q-quantile over delta of every pixel of f(A(z' + delta) + b), for every z' within
    eps of the observed z.

    The theorem of :mod:`invsmooth.certificates.order_statistics` with F the value of one pixel, and
    with minus that value for the lower end; either end fails with probability at most (1 - c)/2.
    ``simultaneous="none"`` is pointwise: each pixel's interval holds with probability c, so a share
    of up to 1 - c of them is expected not to. ``"bonferroni"`` makes all pixels of an image hold
    together. Each radius on its own.

    Args: as for :func:`invsmooth.certificates.certify`.
    Raises: ValueError: a value outside its range."""
    if simultaneous not in ("none", "bonferroni"):
        raise ValueError(f"simultaneous={simultaneous!r} is neither none nor bonferroni")
    smoothing = Smoothing(
        sigma=float(sigma), n_samples=n_samples, confidence=confidence, q=q, seed=seed, chunk_size=chunk_size
    )
    smoothing.check()
    ratios = [ratio_of(e, sigma) for e in as_radii(eps)]
    with smoothed(estimator, operator, y, smoothing, image_keys=image_keys) as (draws, shown):
        n_bounds = 2 * (shown[0].numel() if simultaneous == "bonferroni" else 1)
        each = bonferroni(confidence, n_bounds)
        upper, mirrored = (ranks(ratios, replace(smoothing, confidence=each, q=p)) for p in (q, 1 - q))
        ends = [extremes(draws.image(i), n_samples, upper, mirrored) for i in range(len(y))]
    values = torch.stack([e[0] for e in ends])
    low, high = (values[:, side, 0] if is_number(eps) else values[:, side] for side in (0, 1))
    reasons = [why_none(r, n_samples, each, q) or why_none(r, n_samples, each, 1 - q) for r in ratios]
    k_lower = [n_samples + 1 - k if k else None for k in mirrored]
    return PixelIntervals(low, high, k_lower, upper, reasons, network_evals=1 + ends[0][1])


def extremes(draws: Draws, n_samples: int, upper: Sequence[int | None],
             mirrored: Sequence[int | None]) -> tuple[Tensor, int]:  # fmt: skip
    """The lower and the upper ends of one image, (2, radius, C, H, W), and the network evaluations.
    Only the draws of the smallest rank and above are kept of each pixel (and of its negative)."""
    n, n_drawn = draws.image_shape.numel(), n_samples if draws.sigma > 0 else 1
    smallest = min((k for k in (*upper, *mirrored) if k), default=n_samples)
    kept = n_samples + 1 - smallest if draws.sigma > 0 else 1
    strip = max(1, EXTREME_BYTES // (2 * 2 * kept * draws.y.element_size()))
    ends = torch.full((2, len(upper), n), torch.nan, dtype=draws.y.dtype, device=draws.y.device)
    strips = [slice(first, first + strip) for first in range(0, n, strip)]
    for pixels in strips:
        most, least = (Largest(kept, n_drawn, ends[0, 0, pixels]) for _ in range(2))
        for _, x_hat in draws.chunks(0, n_drawn):
            values = x_hat[0].flatten(1)[:, pixels]
            most.add(values)
            least.add(-values)
        for side, sign, of_eps, largest in ((0, -1, mirrored, least.descending()), (1, 1, upper, most.descending())):
            for j, k in enumerate(of_eps):
                if k:
                    ends[side, j, pixels] = sign * largest[(n_samples - k) % n_drawn]
    return ends.view(2, len(upper), *draws.image_shape), len(strips) * n_drawn


class Largest:
    """The ``kept`` largest values of every column of a stream of at most ``n_rows`` rows ``like``
    this one."""

    def __init__(self, kept: int, n_rows: int, like: Tensor) -> None:
        self.kept, self.filled = kept, 0
        self.rows = like.new_empty(min(2 * kept, n_rows), len(like))

    def add(self, rows: Tensor) -> None:
        while len(rows):
            if self.filled == len(self.rows):
                self.rows[: self.kept] = self.rows.topk(self.kept, dim=0, sorted=False).values
                self.filled = self.kept
            taken = rows[: len(self.rows) - self.filled]
            self.rows[self.filled : self.filled + len(taken)] = taken
            self.filled, rows = self.filled + len(taken), rows[len(taken) :]

    def descending(self) -> Tensor:
        """The largest values, largest first, shape (at least ``kept``, columns)."""
        return self.rows[: self.filled].sort(dim=0, descending=True).values
