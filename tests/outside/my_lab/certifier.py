"""Certified PSNR of a given share of the smoothed reconstructions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from invsmooth.certificates.certificate import Certificate
from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.percentile import Percentile
from invsmooth.checks.truth import Attacked, TruthCheck
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units
from invsmooth.metrics import mse_to_psnr


class Tail(Percentile):
    """At least a share of the smoothed reconstructions has this PSNR, whatever the attack of radius eps.

    Args:
        share: of the reconstructions, in (0, 1).
    """

    name = "tail"
    reference = "x"  # what the draws are compared with
    declared = CertifierDeclaration(
        name="tail", statement="a share of the smoothed draws: MSE to the clean image", colour="#999933", marker="P",
        ranked=True, column="tail_psnr", axis="tail: certified PSNR, dB", short="≥ {:.2f} dB", curves={"psnr": "tail_psnr"},
        truth_in=("psnr",),
        columns=(Column("tail_psnr", "dB", "Certified PSNR of a share of the smoothed draws.", certified=True,
                        heading="tail PSNR", digits=".2f"),),
    )  # fmt: skip

    def __init__(self, share: float = 0.9) -> None:
        self.share = share

    def own(self, settings: Smoothing) -> Smoothing:
        """The settings with the quantile that is certified here."""
        return replace(settings, q=self.share)

    def check(self, smoothing: Smoothing) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share={self.share} is not allowed; allowed: a number in (0, 1)")

    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        return super().why_impossible(ratio, self.own(smoothing))

    def certify(
        self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float], each: Smoothing
    ) -> Certificate:
        return super().certify(draws, shown, x, eps, self.own(each))

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        return {"tail_psnr": float(mse_to_psnr(certificate.bound[i]))}

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        return super().truth(certificate, attacked, self.own(each))

    # The certificate file: its quantile, and what follows from the recorded draws.

    def quantile(self, q: float) -> float:
        return self.share

    def expected(
        self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int, units: Units
    ) -> dict[str, Any]:
        return super().expected(record, ratios, self.own(each), n, units)
