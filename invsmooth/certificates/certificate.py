"""What a certifier returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Certificate:
    """Certificates of a batch of images over a grid of radii.

    The fields that depend on the radius are indexed ``[image]`` where eps was given as a number, and ``[image, radius]``
    where it was a sequence; ``shown`` and what the subclasses say is per image. MSE on the [0, 1] pixel scale.

    Attributes:
        bound: certified MSE, nan where none exists. What it bounds: :mod:`invsmooth.certificates.certifiers`.
        k_index: rank K among the S draws in ascending order, 1-based, of the draw that gives the bound; None where there
            is no such rank, and for ``mean``. Object array.
        median: MSE of the median draw (rank ceil(S/2)) to the reference: an estimate, without confidence.
        reconstruction_median: the reconstruction of that draw, shape (…, C, H, W) (paper, Algorithm 3).
        reconstruction_certified: the reconstruction of rank K; nan where none exists. ``mean`` and ``center`` deploy one
            image, which is in both of these.
        reason: why there is no bound, and what would give one; "" where there is one. Object array.
        sound: whether the bound holds for all ||xi||_2 <= eps as given.
        network_evals: network evaluations for each image that this certifier takes alone.
        shown: the image deployed, shape (B, C, H, W): f(y), the mean c of the first draws, or the centre.
        draws: MSE of the S draws to the reference in ascending order, shape (B, S): what ranks are taken of. ``mean``, whose
            bound is none of them, has no such column (S = 0).
    """

    RADIUS_AXIS: ClassVar[tuple[str, ...]] = (
        "bound", "k_index", "median", "reconstruction_median", "reconstruction_certified", "reason",
    )  # fmt: skip

    bound: Tensor
    k_index: np.ndarray
    median: Tensor
    reconstruction_median: Tensor
    reconstruction_certified: Tensor
    reason: np.ndarray
    sound: bool
    network_evals: int
    shown: Tensor
    draws: Tensor

    def at(self, radius: int) -> Self:
        """The certificate at one radius of the grid, by its position; indexed by image alone."""
        changes: dict[str, Any] = {name: getattr(self, name)[:, radius] for name in self.RADIUS_AXIS}
        return replace(self, **changes)


@dataclass(frozen=True)
class RadiusCertificate(Certificate):
    """``radius``: ``bound`` is the threshold wherever it is certified.

    Attributes:
        certified_eps: the largest eps at which the certified value is at most the threshold, shape (B,); nan where it
            is not even at eps = 0.
    """

    certified_eps: Tensor


@dataclass(frozen=True)
class DecidedCertificate(Certificate):
    """``radius``, drawing no more than it takes to decide: ``bound`` is the threshold where it is certified.

    Attributes:
        n_drawn: draws that took, per radius. Object array.
        n_below: how many of them are at most the threshold, per radius. Object array.
        below: the decision, per radius: True (certified), False (no number of draws would), None (undecided). Object array.
    """

    RADIUS_AXIS = (*Certificate.RADIUS_AXIS, "n_drawn", "n_below", "below")

    n_drawn: np.ndarray
    n_below: np.ndarray
    below: np.ndarray


@dataclass(frozen=True)
class MeanCertificate(Certificate):
    """``mean``: ``bound`` is the square of the largest shift ||m~(z') - m~(z)||, divided by n.

    m~ is the mean of the smoothed reconstructions, clipped to the ball of radius R around c (= ``shown``).

    Attributes:
        bound_to_shown: MSE bound of m~(z') to c, per radius.
        certified_error: MSE bound of m~(z') to the clean image x, per radius; nan where x was not given.
        chi_square, total_variation, trace: ``bound`` by simpler arguments, per radius; inf where out of float range.
        lambda_hat: upper bound of the largest eigenvalue of the second moment of the S draws about c, shape (B,).
        trace_hat: its trace, shape (B,).
        radius: R, an l2 norm, shape (B,).
        mean_offset: ||c - m^||, m^ the mean of the S draws, shape (B,).
        centre_error, mean_error: ||c - x|| and ||m^ - x||, shape (B,); nan where x was not given.
        clipped: how many of the S draws were clipped, shape (B,).
        n_centre: S_0, draws that c and R are from.
    """

    RADIUS_AXIS = (
        *Certificate.RADIUS_AXIS, "bound_to_shown", "certified_error", "chi_square", "total_variation", "trace",
    )  # fmt: skip

    bound_to_shown: Tensor
    certified_error: Tensor
    chi_square: Tensor
    total_variation: Tensor
    trace: Tensor
    lambda_hat: Tensor
    trace_hat: Tensor
    radius: Tensor
    mean_offset: Tensor
    centre_error: Tensor
    mean_error: Tensor
    clipped: Tensor
    n_centre: int


@dataclass(frozen=True)
class CenterCertificate(Certificate):
    """``center``: ``bound`` is (3 R-hat)²/n, the MSE between the centres at z and at any z' within eps.

    Attributes:
        abstained: shape (B,); an image that was abstained from has no bound and no picture.
        share_in_ball: share of the second sample in the ball around the centre, shape (B,).
        n_pred: draws of the first and of the second sample.
    """

    abstained: Tensor
    share_in_ball: Tensor
    n_pred: int


def object_rows(row: Sequence[object], n_rows: int) -> np.ndarray:
    """An object array of shape (n_rows, len(row)) whose rows all are ``row``."""
    array = np.empty((n_rows, len(row)), dtype=object)
    array[:] = row
    return array
