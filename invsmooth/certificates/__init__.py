"""Certificates by randomized smoothing."""

from invsmooth.certificates.certify import CERTIFIERS, Certificate, certify, certify_all
from invsmooth.certificates.order_statistics import (
    max_certifiable_ratio,
    min_samples,
    order_statistic_index,
    shifted_quantile,
    why_none,
)

__all__ = [
    "CERTIFIERS",
    "Certificate",
    "certify",
    "certify_all",
    "max_certifiable_ratio",
    "min_samples",
    "order_statistic_index",
    "shifted_quantile",
    "why_none",
]
