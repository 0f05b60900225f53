"""The certifier ``mean``: how far the mean of the smoothed reconstructions can move (SPEC 6.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Like
from invsmooth.certificates.certificate import MeanCertificate, object_rows
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.impossible import WITHOUT_NOISE
from invsmooth.certificates.order_statistics import ratio_of
from invsmooth.certificates.second_moment import largest_eigenvalue
from invsmooth.certificates.variance_constrained import Movement, movement
from invsmooth.core.rng import generator_for

DEFAULT_CENTRE = 500
"""S_0, unless S is smaller: draws from which c and R are fixed."""
PIXELS_AT_A_TIME = 2**21
"""16 MiB of float64."""
RADIUS_MARGIN = 1.05
"""R over the largest distance of the first draws to c: few of the draws to come are clipped."""


def centre_draws(n_centre: int | None, n_samples: int) -> int:
    """S_0, chosen where it is None."""
    return max(2, min(DEFAULT_CENTRE, n_samples)) if n_centre is None else n_centre


@dataclass(frozen=True)
class Moments:
    """What the draws of one image say. Lengths are l2 norms over the image; the names are those of MeanCertificate."""

    centre: Tensor
    radius: float
    lambda_hat: float
    trace_hat: float
    mean_offset: float
    centre_error: float
    mean_error: float
    clipped: int
    median: float

    def movement(self, ratio: float, confidence: float, n_samples: int) -> Movement:
        return movement(
            lambda_hat=self.lambda_hat, trace_hat=self.trace_hat, radius=self.radius, mean_offset=self.mean_offset,
            ratio=ratio, confidence=confidence, n_samples=n_samples,
        )  # fmt: skip

    def error(self, moved: Movement) -> float:
        return moved.error(self.centre_error, self.mean_error)


def mean_certificate(
    draws: Draws, x: Tensor | None, radii: Sequence[float], n_samples: int, n_centre: int | None, confidence: float
) -> MeanCertificate:
    """Certify the mean estimator of every image at every radius. ``draws``: made once (:meth:`Draws.making`).

    c and R are from the draws 0 … S_0 - 1, all else from the independent draws S_0 … S_0 + S - 1. With probability at
    least ``confidence`` over the latter ``bound``, ``bound_to_shown`` and ``certified_error`` hold together, at all radii.

    Args:
        x: clean images for ``certified_error``, shape (B, C, H, W), or None.
        n_samples: S.
        n_centre: S_0 >= 2; None takes DEFAULT_CENTRE, at most S.
    """
    n_centre = centre_draws(n_centre, n_samples)
    # Without noise all draws are the same one.
    n_first, n_drawn = (n_centre, n_samples) if draws.sigma > 0 else (1, 1)
    found = [recalled_moments(draws.image(i), None if x is None else x[i], n_first, n_drawn) for i in range(len(draws))]
    ratios = [ratio_of(eps, draws.sigma) for eps in radii]
    moved = [[m.movement(ratio, confidence, n_drawn) for ratio in ratios] for m in found]
    shown = torch.stack([m.centre for m in found]).to(draws.y)
    pictures = shown[:, None].expand(-1, len(radii), -1, -1, -1)

    def tensor(values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=draws.y.device)

    def as_mse(lengths: list[list[float]]) -> Tensor:
        return (tensor(lengths).square() / draws.image_shape.numel()).where(tensor(ratios).isfinite(), math.nan)

    names = ("lambda_hat", "trace_hat", "radius", "mean_offset", "centre_error", "mean_error", "clipped")
    forms = {"bound": "shift", "bound_to_shown": "offset"} | {k: k for k in ("chi_square", "total_variation", "trace")}
    return MeanCertificate(
        k_index=object_rows([None] * len(radii), len(draws)),
        median=tensor([m.median for m in found])[:, None].expand(-1, len(radii)),
        reconstruction_median=pictures,
        reconstruction_certified=pictures,
        reason=object_rows([WITHOUT_NOISE if math.isinf(r) else "" for r in ratios], len(draws)),
        sound=True,
        network_evals=1 + n_first + n_drawn,
        shown=shown,
        draws=shown.new_empty(len(draws), 0),
        certified_error=as_mse([[m.error(v) for v in row] for m, row in zip(found, moved, strict=True)]),
        n_centre=n_centre,
        **{field: as_mse([[getattr(v, form) for v in row] for row in moved]) for field, form in forms.items()},
        **{name: tensor([getattr(m, name) for m in found]) for name in names},
    )


def recalled_moments(draws: Draws, x: Tensor | None, n_centre: int, n_samples: int) -> Moments:
    """:func:`moments`, unless they were computed before."""

    def compute() -> Mapping[str, Tensor]:
        found = asdict(moments(draws, x, n_centre, n_samples))
        return {
            k: torch.as_tensor(v, dtype=None if isinstance(v, Tensor | int) else torch.float64)
            for k, v in found.items()
        }

    expected = {
        f.name: Like(dtype=torch.float64, finite=x is not None or not f.name.endswith("_error"))
        for f in fields(Moments)
    }
    expected |= {"centre": Like(tuple(draws.image_shape), torch.float64), "clipped": Like(dtype=torch.int64)}
    found = draws.remember("moments", moments_content(draws, x, n_centre, n_samples), compute, expected)
    values: dict[str, Any] = {k: v if k == "centre" else v.item() for k, v in found.items()}
    return Moments(**values)


def moments_content(draws: Draws, x: Tensor | None, n_centre: int, n_samples: int) -> dict[str, Any]:
    """What determines the moments of the draws of one image."""
    return draws.content(n_centre + n_samples) | {"x": x, "n_centre": n_centre}


def moments(draws: Draws, x: Tensor | None, n_centre: int, n_samples: int) -> Moments:
    """Fix c and R, then take the second moment about c of S fresh draws. ``draws``: of one image, made once."""
    centre, radius = ball(draws, n_centre)

    def offsets() -> Iterator[tuple[Tensor, Tensor]]:
        """|f - c| and f~ - c, f~ = c + (f - c) min(1, R/|f - c|), of some draws at a time."""
        for offset in rows(draws, n_centre, n_centre + n_samples):
            offset -= centre
            length = offset.norm(dim=1)
            # The floor only matters where f = c.
            yield length, offset.mul_((radius / length.clamp_min(1e-300)).clamp_max(1)[:, None])

    # Their room is taken once: small tensors that stay, between large ones that go, would leave memory in pieces.
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
        centre=centre.view(draws.image_shape),
        radius=radius,
        lambda_hat=min(largest, trace) / n_samples,
        trace_hat=trace / n_samples,
        mean_offset=float(to_mean.norm()),
        centre_error=math.nan if to_x is None else float(to_x.norm()),
        mean_error=math.nan if to_x is None else float((to_x + to_mean).norm()),
        clipped=int((lengths > radius).sum()),
        median=float(lengths.kthvalue(math.ceil(n_samples / 2)).values) ** 2 / centre.numel(),
    )


def ball(draws: Draws, n_centre: int) -> tuple[Tensor, float]:
    """c, the mean of the first S_0 draws, as a float64 vector, and R."""
    total = torch.zeros(draws.image_shape.numel(), dtype=torch.float64, device=draws.y.device)
    for some in rows(draws, 0, n_centre):
        total += some.sum(0)
    centre = total / n_centre
    furthest = max(float((some - centre).norm(dim=1).max()) for some in rows(draws, 0, n_centre))
    return centre, RADIUS_MARGIN * furthest


def rows(draws: Draws, start: int, stop: int) -> Iterator[Tensor]:
    """The draws start … stop - 1 of one image as float64 vectors of length n, some at a time: (k, n)."""
    assert draws.made is not None
    step = max(1, PIXELS_AT_A_TIME // draws.image_shape.numel())
    for first in range(start, stop, step):
        yield draws.made.read(first, min(first + step, stop))[0].flatten(1).to(torch.float64, copy=True)
