"""What the certifier ``mean`` takes from the draws of one image: centre, ball and second moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Like
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.second_moment import largest_eigenvalue
from invsmooth.core.rng import generator_for

PIXELS_AT_A_TIME = 2**21  # 16 MiB of float64
RADIUS_MARGIN = 1.05  # R over the largest distance of the first draws to c: few of the later draws are clipped


@dataclass(frozen=True)
class Moments:
    """What the draws of one image give, in l2 norms; the names are those of MeanCertificate."""

    centre: Tensor
    radius: float
    lambda_hat: float
    trace_hat: float
    mean_offset: float
    centre_error: float
    mean_error: float
    clipped: int
    median: float


def cached_moments(draws: Draws, x: Tensor | None, n_centre: int, n_samples: int) -> Moments:
    """:func:`moments`, from the cache if they are there."""

    def compute() -> Mapping[str, Tensor]:
        found = asdict(moments(draws, x, n_centre, n_samples))
        return {k: torch.as_tensor(v, dtype=torch.float64 if isinstance(v, float) else None) for k, v in found.items()}

    names = [f.name for f in fields(Moments)]
    expected = {k: Like(dtype=torch.float64, finite=x is not None or not k.endswith("_error")) for k in names}
    expected |= {"centre": Like(tuple(draws.image_shape), torch.float64), "clipped": Like(dtype=torch.int64)}
    found = draws.remember("moments", moments_content(draws, x, n_centre, n_samples), compute, expected)
    values: dict[str, Any] = {k: v if k == "centre" else v.item() for k, v in found.items()}
    return Moments(**values)


def moments_content(draws: Draws, x: Tensor | None, n_centre: int, n_samples: int) -> dict[str, Any]:
    return draws.content(n_centre + n_samples) | {"x": x, "n_centre": n_centre}


def moments(draws: Draws, x: Tensor | None, n_centre: int, n_samples: int) -> Moments:
    """Fix c and R, then take the second moment about c of S fresh draws of one image, shared."""
    total = torch.zeros(draws.image_shape.numel(), dtype=torch.float64, device=draws.y.device)
    for some in rows(draws, 0, n_centre):
        total += some.sum(0)
    centre = total / n_centre
    radius = RADIUS_MARGIN * max(float((some - centre).norm(dim=1).max()) for some in rows(draws, 0, n_centre))

    def offsets() -> Iterator[tuple[Tensor, Tensor]]:
        """|f - c| and f~ - c, f~ = c + (f - c) min(1, R/|f - c|), of some draws at a time."""
        for offset in rows(draws, n_centre, n_centre + n_samples):
            offset -= centre
            length = offset.norm(dim=1)
            # The floor only matters where f = c.
            yield length, offset.mul_((radius / length.clamp_min(1e-300)).clamp_max(1)[:, None])

    # Preallocated, to avoid memory fragmentation.
    lengths, drawn = torch.empty(n_samples, dtype=torch.float64), 0
    total, trace = torch.zeros_like(centre), 0.0
    for length, offset in offsets():
        lengths[drawn : drawn + len(length)] = length
        drawn += len(length)
        total += offset.sum(0)
        trace += float(offset.square().sum())
    to_mean = total / n_samples
    largest = largest_eigenvalue(
        lambda: (offset for _, offset in offsets()), n_samples, centre.numel(),
        generator_for(draws.seed, "eigenvalue", draws.image_keys[0]), centre.device,
    )  # fmt: skip
    to_x = None if x is None else centre - x.flatten().double()
    return Moments(
        centre=centre.view(draws.image_shape), radius=radius, lambda_hat=min(largest, trace) / n_samples,
        trace_hat=trace / n_samples, mean_offset=float(to_mean.norm()),
        centre_error=math.nan if to_x is None else float(to_x.norm()),
        mean_error=math.nan if to_x is None else float((to_x + to_mean).norm()), clipped=int((lengths > radius).sum()),
        median=float(lengths.kthvalue(math.ceil(n_samples / 2)).values) ** 2 / centre.numel(),
    )  # fmt: skip


def rows(draws: Draws, start: int, stop: int) -> Iterator[Tensor]:
    """The draws start … stop - 1 of one image as float64 vectors, some at a time: (k, n)."""
    assert draws.shared is not None
    step = max(1, PIXELS_AT_A_TIME // draws.image_shape.numel())
    for first in range(start, stop, step):
        yield draws.shared.read(first, min(first + step, stop))[0].flatten(1).to(torch.float64, copy=True)
