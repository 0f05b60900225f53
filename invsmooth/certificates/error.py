"""The certifier ``error``: certified MSE, and so PSNR, of the smoothed reconstructions."""

from __future__ import annotations

from typing import Any

from invsmooth.certificates.certificate import Certificate
from invsmooth.certificates.percentile import Percentile
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units


class Error(Percentile):
    """For every signal z' within eps of the observed one, at least a fraction q of the smoothed
    reconstructions f(y_{z'+delta}) has an MSE of at most ``bound`` to the clean image x. For
    evaluations only: x has to be known."""

    name = "error"
    reference = "x"
    declared = CertifierDeclaration(
        name="error", statement="smoothed draws: MSE to the clean image", order=20, colour="#CC79A7", marker="D",
        ranked=True, column="certified_psnr", axis="error: certified PSNR, dB", short="≥ {:.2f} dB",
        curves={"psnr": "certified_psnr"}, truth_in=("psnr",),
        columns=(
            Column("certified_psnr", "dB", "PSNR that a fraction q of the smoothed draws has under every attack.",
                   certified=True, heading="certified PSNR", digits=".2f"),
        ),
    )  # fmt: skip

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        from invsmooth.metrics import mse_to_psnr

        return {"certified_psnr": float(mse_to_psnr(certificate.bound[i]))}
