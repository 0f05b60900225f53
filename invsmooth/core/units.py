"""Grey levels to the [0, 1] pixel scale: the only module that knows 255 (SPEC section 1).
Configs and rows give sigma and sigma_b in 8-bit grey levels, as the paper does (12 means 12/255). All
functions behind the configs work in [0, 1]; ``eps`` is always an l2 norm in [0, 1]."""

from __future__ import annotations

import math
from enum import StrEnum

GREY_LEVELS = 255.0


class Units(StrEnum):
    """How a certificate relates eps to sigma (``certificate.units``)."""

    matched = "matched"
    paper = "paper"


PAPER_LABEL = "as published; not a certificate for ‖ξ‖₂ ≤ ε"


def to_unit_scale(grey_levels: float) -> float:
    """A standard deviation in 8-bit grey levels, on the [0, 1] pixel scale."""
    return grey_levels / GREY_LEVELS


def to_grey_levels(std: float) -> float:
    """The inverse of :func:`to_unit_scale`: gives back the number that was typed."""
    return round(std * GREY_LEVELS, 9)


def grey_or_none(std: float | None) -> float | None:
    """:func:`to_grey_levels`; None for none."""
    return None if std is None else to_grey_levels(std)


def eps_over_sigma(eps: float, sigma_grey: float, units: Units) -> float:
    """The ratio a certificate uses. ``eps``: [0, 1] l2 norm; ``sigma_grey``: grey levels.
    ``matched`` divides like by like. ``paper`` divides the raw numbers, as the paper does (its Corollary 3.2 with
    eps = 10, sigma = 12 uses 10/12), which is 255 times too small. Without noise it is inf, or 0 at eps = 0."""
    if sigma_grey == 0:
        return math.inf if eps else 0.0
    return eps / sigma_grey if units is Units.paper else eps / to_unit_scale(sigma_grey)


def certified_radius(eps: float, units: Units) -> float:
    """The [0, 1] l2 radius that a certificate labelled ``eps`` really covers: ``eps``, or ``eps/255`` as published."""
    return eps / GREY_LEVELS if units is Units.paper else eps


def labelled_radius(radius: float, units: Units) -> float:
    """The inverse of :func:`certified_radius`: a [0, 1] l2 radius in the unit of the eps that it stands beside."""
    return radius * GREY_LEVELS if units is Units.paper else radius
