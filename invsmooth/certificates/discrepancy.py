"""The certifier ``discrepancy``: how far the smoothed reconstructions can be from f(y)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from invsmooth.certificates.certificate import Certificate
from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.percentile import Percentile
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from invsmooth.checks.truth import Attacked, TruthCheck


class Discrepancy(Percentile):
    """For every signal z' within eps of the observed one, at least a fraction q of the smoothed
    reconstructions f(y_{z'+delta}) is within ``bound`` (MSE) of f(y). That reference is fixed: it
    depends neither on delta nor on z'. In the paper's Corollary 3.2 it moves with the attack, and
    the claim is false. An evaluation takes it at the attacked measurement, as the paper does."""

    name = "discrepancy"
    reference = "shown"
    declared = CertifierDeclaration(
        name="discrepancy", statement="smoothed draws: MSE to what was reconstructed", order=10, colour="#0072B2",
        at="attacked", ranked=True, truth_in=("mse",), axis="discrepancy: MSE to what\nwas reconstructed (dotted: median)",
        columns=(
            Column("discrepancy_median", "MSE", "Of the draw of rank ceil(S/2) to the reconstruction: an estimate.",
                   heading="discrepancy median", digits=".2e"),
            Column("discrepancy_certified", "MSE", "The bound of discrepancy.", certified=True),
        ),
    )  # fmt: skip

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        own = {"discrepancy_median": certificate.median, "discrepancy_certified": certificate.bound}
        return {name: float(values[i]) for name, values in own.items()}

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        """Certified at x + xi, with the reconstruction there as reference; checked at x, which
        is as far away."""
        from invsmooth.checks.truth import check_error

        at_clean = replace(attacked, xi=attacked.xi * 0)
        return check_error(at_clean, each, certificate.bound, reference=attacked.x_hat)
