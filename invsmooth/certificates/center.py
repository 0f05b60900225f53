"""The certifier ``center``: center smoothing (Kumar & Goldstein 2021; SPEC 6.4).

The smoothed reconstruction of a measurement is a draw in the middle of the others. What the bound says: with probability
at least c, the centre found at ANY z' within eps, by the same procedure with fresh draws and unless it abstains there, is
at most 3 R-hat away from the one found here. (The ball of radius R-hat around this centre holds more than half of the
draws at z', so the least median distance there is at most 2 R-hat, and the two balls meet.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invsmooth.cache import Like
from invsmooth.certificates.center_smoothing import (
    BALL_FACTOR,
    center_index,
    default_n_pred,
    why_abstained,
    why_no_center,
)
from invsmooth.certificates.certificate import CenterCertificate
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.order_statistics import ratio_of

CANDIDATE_BYTES = 2**26
FEWEST_CANDIDATES, MOST_CANDIDATES = 64, 256
"""The centre is one of the first draws, as many as fit into CANDIDATE_BYTES. None of 64 candidates lies in a ball that holds
more than half of the draws with probability below 2^-73, which is what fewer candidates than n_pred cost."""


@dataclass(frozen=True)
class Centre:
    """One image's centre, shape (C, H, W), and what was found around it.

    Attributes:
        share: of a second sample of n_pred draws, those within the least median distance.
        distances: of a third sample of S draws to the centre, squared and divided by n, in ascending order.
    """

    picture: Tensor
    share: float
    distances: Tensor


def predictions(n_pred: int | None, confidence: float) -> int:
    """n_pred, chosen where it is None."""
    return default_n_pred(confidence) if n_pred is None else n_pred


def center_certificate(
    draws: Draws, radii: Sequence[float], n_samples: int, n_pred: int | None, confidence: float, dkw: bool
) -> CenterCertificate:
    """Certify the centre of every image at every radius.

    Three samples that are independent of each other: n_pred draws choose the centre, n_pred decide whether to abstain
    (alpha_1), S give R-hat (alpha_2).

    Args:
        n_samples: S.
        n_pred: None takes :func:`default_n_pred`.
        dkw: R-hat holds at all radii at once.
    """
    n_pred = predictions(n_pred, confidence)
    # Without noise all draws are the same one.
    n_first, n_drawn = (n_pred, n_samples) if draws.sigma > 0 else (1, 1)
    found = [recalled_centre(draws.image(i), n_first, n_drawn) for i in range(len(draws))]
    ratios = [ratio_of(eps, draws.sigma) for eps in radii]
    ranks = [center_index(n_samples, ratio, confidence, dkw=dkw) for ratio in ratios]
    impossible = [why_no_center(ratio, n_samples, confidence, n_pred, dkw=dkw) for ratio in ratios]
    abstained = [why_abstained(c.share, n_pred, confidence) for c in found]

    reason = np.array([[why or alone for why in impossible] for alone in abstained], dtype=object)
    k_index = np.array([[None if alone else k for k in ranks] for alone in abstained], dtype=object)
    bounds = [
        [BALL_FACTOR * float(c.distances.expand(n_samples)[k - 1]) if k else math.nan for k in row]
        for c, row in zip(found, k_index, strict=True)
    ]
    medians = [c.distances[math.ceil(n_drawn / 2) - 1] for c in found]
    shown = torch.stack([c.picture * (math.nan if a else 1.0) for c, a in zip(found, abstained, strict=True)])
    pictures = shown[:, None].expand(-1, len(radii), -1, -1, -1)
    return CenterCertificate(
        bound=torch.tensor(bounds, dtype=torch.float64, device=draws.y.device),
        k_index=k_index,
        median=torch.stack(medians)[:, None].expand(-1, len(radii)),
        reconstruction_median=pictures,
        reconstruction_certified=pictures,
        reason=reason,
        sound=True,
        network_evals=1 + 2 * n_first + n_drawn,
        shown=shown,
        draws=torch.stack([c.distances.expand(n_samples) for c in found]),
        abstained=torch.tensor([bool(a) for a in abstained]),
        share_in_ball=torch.tensor([c.share for c in found]),
        n_pred=n_pred,
    )


def recalled_centre(draws: Draws, n_pred: int, n_samples: int) -> Centre:
    """:func:`centre_of`, unless it was computed before."""

    def compute() -> Mapping[str, Tensor]:
        found = centre_of(draws, n_pred, n_samples)
        share = torch.tensor(found.share, dtype=torch.float64)
        return {"picture": found.picture, "share": share, "distances": found.distances}

    expected = {"picture": Like(tuple(draws.image_shape)), "share": Like(dtype=torch.float64),
                "distances": Like((n_samples,), torch.float64)}  # fmt: skip
    found = draws.remember("centre", centre_content(draws, n_pred, n_samples), compute, expected)
    return Centre(found["picture"], found["share"].item(), found["distances"])


def centre_content(draws: Draws, n_pred: int, n_samples: int) -> dict[str, Any]:
    """What determines the centre of the draws of one image."""
    return draws.content(2 * n_pred + n_samples) | {"n_pred": n_pred}


def centre_of(draws: Draws, n_pred: int, n_samples: int) -> Centre:
    """``draws``: of one image."""
    centre, ball = least_median_distance(draws, n_pred)

    def squared_distances(start: int, count: int) -> Tensor:
        parts = [
            (x_hat[0].flatten(1).double() - centre).square().sum(1) for _, x_hat in draws.chunks(start, start + count)
        ]
        return torch.cat(parts)

    inside = squared_distances(n_pred, n_pred) <= ball
    distances = squared_distances(2 * n_pred, n_samples).sort().values / centre.numel()
    return Centre(centre.view(draws.image_shape).to(draws.y), float(inside.double().mean()), distances)


def least_median_distance(draws: Draws, n_pred: int) -> tuple[Tensor, Tensor]:
    """The candidate with the least median distance (rank ceil(n_pred/2)) to n_pred draws, itself among them, as a float64
    vector, and the square of that distance. Memory: the candidates and their distances to all draws."""
    fit = CANDIDATE_BYTES // (8 * draws.image_shape.numel())
    n_candidates = min(n_pred, MOST_CANDIDATES, max(FEWEST_CANDIDATES, fit))
    candidates = torch.cat([x_hat[0].flatten(1).double() for _, x_hat in draws.chunks(0, n_candidates)])
    # Distances do not change with the origin; near the draws little cancels in |a|² + |b|² - 2ab.
    origin = candidates[0].clone()
    candidates -= origin
    squares = candidates.square().sum(1)
    parts = [squares[:, None] + squares - 2 * candidates @ candidates.T]
    for _, x_hat in draws.chunks(n_candidates, n_pred):
        rows = x_hat[0].flatten(1).double() - origin
        parts.append(squares[:, None] + rows.square().sum(1) - 2 * candidates @ rows.T)
    medians = torch.cat(parts, dim=1).clamp_min(0).kthvalue(math.ceil(n_pred / 2), dim=1).values
    best = int(medians.argmin())
    return candidates[best] + origin, medians[best]
