"""Which certifiers there are, and which cells cannot be certified, known before any network runs. No torch."""

from __future__ import annotations

import math

from invsmooth.certificates.center_smoothing import why_no_center
from invsmooth.certificates.confidence import SIMULTANEOUS, bonferroni
from invsmooth.certificates.order_statistics import check_quantile, check_sampling, why_none

PERCENTILE_CERTIFIERS = ("discrepancy", "error", "radius")
"""Certifiers that rank the first S draws."""
CERTIFIERS = (*PERCENTILE_CERTIFIERS, "mean", "center")

WITHOUT_NOISE = "no certificate: without noise the mean is a single reconstruction; it needs sigma > 0"


def why_impossible(
    certifier: str,
    ratio: float,
    n_samples: int,
    confidence: float,
    q: float = 0.5,
    *,
    simultaneous: str = "none",
    n_radii: int = 1,
    n_pred: int | None = None,
) -> str:
    """Why ``certifier`` can give no bound at eps/sigma = ``ratio``, whatever the network, and what would; "" where it can.

    ``mean`` bounds at every ratio but for sigma = 0. The other arguments are those of
    :func:`invsmooth.certificates.certify`, with ``n_radii`` radii asked for together.
    """
    check_certifier(certifier)
    confidence = each_confidence(confidence, simultaneous, n_radii)
    check_sampling(n_samples, confidence)
    check_quantile(q)
    dkw = simultaneous == "dkw"
    if certifier == "mean":
        return WITHOUT_NOISE if math.isinf(ratio) else ""
    if certifier == "center":
        return why_no_center(ratio, n_samples, confidence, n_pred, dkw=dkw)
    return why_none(ratio, n_samples, confidence, q, dkw=dkw)


def why_above(certified: float, threshold: float) -> str:
    """Why ``radius`` certifies nothing where the certified value is above its threshold."""
    return f"no certificate: the certified MSE {certified:.4g} is above threshold={threshold:.4g}"


def why_not_decided_below(below: bool | None, n_drawn: int, threshold: float) -> str:
    """Why a decision (:func:`invsmooth.certificates.confidence.decide`) certifies nothing; "" where it does."""
    if below:
        return ""
    undecided = f"undecided after {n_drawn} draws"
    known = f"{n_drawn} draws show that the value to certify is above threshold={threshold:.4g}"
    return f"no certificate: {undecided if below is None else known}"


def each_confidence(confidence: float, simultaneous: str, n_radii: int) -> float:
    """The confidence of each radius that makes ``simultaneous`` true of all ``n_radii``."""
    if simultaneous not in SIMULTANEOUS:
        raise ValueError(f"simultaneous={simultaneous!r} is none of {', '.join(SIMULTANEOUS)}")
    return bonferroni(confidence, n_radii) if simultaneous == "bonferroni" else confidence


def check_certifier(certifier: str) -> None:
    if certifier not in CERTIFIERS:
        raise ValueError(f"certifier={certifier!r} is none of {', '.join(CERTIFIERS)}")
