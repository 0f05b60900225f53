"""Every certifier of ours passes the checks of :mod:`tests.certificates.conformance`, whichever there are."""

from __future__ import annotations

from dataclasses import replace

from invsmooth.certificates import Radius, Smoothing
from invsmooth.certificates.by_name import as_certifier, packaged
from tests.certificates.conformance import CertifierConformance

PARAMETERS = {"threshold": 0.02, "n_centre": 20, "n_pred": 800}
"""For those that have them."""

for _name, _kind in packaged().items():
    if _kind.declared.at == "cell":  # made from the certificates of others: test_best.py
        continue
    globals()[f"Test{_kind.__name__}"] = type(
        f"Test{_kind.__name__}", (CertifierConformance,), {"certifier": as_certifier(_kind, PARAMETERS)}
    )


class TestRadiusOfDiscrepancy(CertifierConformance):
    certifier = Radius(0.02, "discrepancy")


class TestAnytime(CertifierConformance):
    certifier = Radius(0.03, anytime=True)


class TestTogetherOverEps(CertifierConformance):
    certifier = Radius(0.02)
    smoothing: Smoothing = replace(CertifierConformance.smoothing, simultaneous="dkw")
