"""Certificates by randomized smoothing and by Lipschitz constants. Each name is imported on its first use: scipy.stats
takes most of a second, torch more, and bounds from numbers need no torch."""

from typing import TYPE_CHECKING

from invsmooth.core.late import late

if TYPE_CHECKING:
    from invsmooth.certificates.best import Best, BestCertificate
    from invsmooth.certificates.by_name import why_impossible
    from invsmooth.certificates.center import Center, CenterCertificate
    from invsmooth.certificates.certificate import Certificate
    from invsmooth.certificates.certifier import Certifier, Smoothing
    from invsmooth.certificates.certifiers import certify, certify_all, certify_threshold
    from invsmooth.certificates.confidence import bonferroni, most_failures
    from invsmooth.certificates.deterministic import Deterministic
    from invsmooth.certificates.discrepancy import Discrepancy
    from invsmooth.certificates.error import Error
    from invsmooth.certificates.lipschitz import Lipschitz, LipschitzCertificate
    from invsmooth.certificates.mean import Mean, MeanCertificate
    from invsmooth.certificates.order_statistics import (
        certified_ratio,
        max_certifiable_ratio,
        min_samples,
        order_statistic_index,
        shifted_quantile,
        why_none,
    )
    from invsmooth.certificates.pixels import PixelIntervals, pixel_intervals
    from invsmooth.certificates.radius import DecidedCertificate, Decision, Radius, RadiusCertificate

NAMES = {
    "best": ("Best", "BestCertificate"),
    "by_name": ("why_impossible",),
    "center": ("Center", "CenterCertificate"),
    "certificate": ("Certificate",),
    "certifier": ("Certifier", "Smoothing"),
    "certifiers": ("certify", "certify_all", "certify_threshold"),
    "confidence": ("bonferroni", "most_failures"),
    "deterministic": ("Deterministic",),
    "discrepancy": ("Discrepancy",),
    "error": ("Error",),
    "lipschitz": ("Lipschitz", "LipschitzCertificate"),
    "mean": ("Mean", "MeanCertificate"),
    "order_statistics": (
        "certified_ratio", "max_certifiable_ratio", "min_samples", "order_statistic_index", "shifted_quantile",
        "why_none",
    ),
    "pixels": ("PixelIntervals", "pixel_intervals"),
    "radius": ("DecidedCertificate", "Decision", "Radius", "RadiusCertificate"),
}  # fmt: skip
MODULES = {name: module for module, names in NAMES.items() for name in names}

__all__ = [
    "Best", "BestCertificate", "Center", "CenterCertificate", "Certificate", "Certifier", "DecidedCertificate",
    "Decision", "Deterministic", "Discrepancy", "Error", "Lipschitz", "LipschitzCertificate", "Mean", "MeanCertificate",
    "PixelIntervals", "Radius", "RadiusCertificate", "Smoothing", "bonferroni", "certified_ratio", "certify",
    "certify_all", "certify_threshold", "max_certifiable_ratio", "min_samples", "most_failures",
    "order_statistic_index", "pixel_intervals", "shifted_quantile", "why_impossible", "why_none",
]  # fmt: skip


__getattr__ = late(__name__, MODULES)


def __dir__() -> list[str]:
    return __all__
