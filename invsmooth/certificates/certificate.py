"""What a certifier returns. Certifiers with further results derive a class of their own from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Certificate:
    """Certificates of a batch of images over a grid of radii.

    The fields in RADIUS_AXIS are indexed ``[image]`` where eps was given as a number, and ``[image,
    radius]`` where it was a sequence. The others are per image. MSE on the [0, 1] pixel scale.

    Attributes:
        bound: certified MSE, nan where none exists. What it bounds: see the certifier.
        k_index: rank K, 1-based, among the S ascending draws of the one that gives the bound; None
            where none does. Object array.
        median: MSE of the median draw (rank ceil(S/2)) to the reference: an estimate.
        reconstruction_median, reconstruction_certified: of that draw (paper, Algorithm 3) and of
            rank K, nan where none exists, shape (…, C, H, W); or the one image that is shown.
        reason: why there is no bound, and what would give one; "" where there is one. Object array.
        sound: whether the bound holds for all ||xi||_2 <= eps as given.
        network_evals, shown: for each image that this certifier takes alone; the one deployed.
        draws: MSE of the S draws to the reference in ascending order, shape (B, S): what ranks are
            taken of; S = 0 where the bound is none of them."""

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
        return replace(self, **{name: getattr(self, name)[:, radius] for name in self.RADIUS_AXIS})

    def n_drawn_for(self, i: int, n_samples: int) -> int:
        """Draws behind the certificate of image i at one radius, of ``n_samples`` allowed."""
        return n_samples


def object_rows(row: Sequence[object], n_rows: int) -> np.ndarray:
    """An object array of shape (n_rows, len(row)) whose rows all are ``row``."""
    array = np.empty((n_rows, len(row)), dtype=object)
    array[:] = row
    return array
