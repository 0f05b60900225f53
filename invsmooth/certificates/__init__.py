"""Certificates by randomized smoothing.

The arithmetic (order statistics, confidence, bounds of the mean) needs no torch: whoever only computes bounds from numbers
does not wait for it. What draws reconstructions is imported on its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from invsmooth.certificates.confidence import bonferroni, most_failures
from invsmooth.certificates.impossible import CERTIFIERS, PERCENTILE_CERTIFIERS, why_impossible
from invsmooth.certificates.order_statistics import (
    certified_ratio,
    max_certifiable_ratio,
    min_samples,
    order_statistic_index,
    shifted_quantile,
    why_none,
)

if TYPE_CHECKING:
    from invsmooth.certificates.anytime import Decision, certify_threshold, decided_certificate
    from invsmooth.certificates.certificate import (
        CenterCertificate,
        Certificate,
        MeanCertificate,
        RadiusCertificate,
    )
    from invsmooth.certificates.certifiers import certify, certify_all
    from invsmooth.certificates.pixel_intervals import PixelIntervals, pixel_intervals

WITH_TORCH = {
    "anytime": ("Decision", "certify_threshold", "decided_certificate"),
    "pixel_intervals": ("PixelIntervals", "pixel_intervals"),
    "certificate": ("CenterCertificate", "Certificate", "MeanCertificate", "RadiusCertificate"),
    "certifiers": ("certify", "certify_all"),
}

__all__ = [
    "CERTIFIERS",
    "PERCENTILE_CERTIFIERS",
    "CenterCertificate",
    "Certificate",
    "Decision",
    "MeanCertificate",
    "PixelIntervals",
    "RadiusCertificate",
    "bonferroni",
    "certified_ratio",
    "certify",
    "certify_all",
    "certify_threshold",
    "decided_certificate",
    "max_certifiable_ratio",
    "min_samples",
    "most_failures",
    "order_statistic_index",
    "pixel_intervals",
    "shifted_quantile",
    "why_impossible",
    "why_none",
]


def __getattr__(name: str) -> Any:
    for module, names in WITH_TORCH.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
