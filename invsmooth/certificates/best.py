"""The certifier ``best``: of several certificates of one image the strongest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from invsmooth.certificates.certificate import Certificate, object_rows
from invsmooth.certificates.certifier import Certifier, Smoothing
from invsmooth.certificates.deterministic import WithoutDraws
from invsmooth.certificates.fields import TEXT
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.draws import Draws


@dataclass(frozen=True, repr=False)
class BestCertificate(Certificate):
    """``bound`` is the smallest certified MSE to the clean image among ``parts``.

    Attributes:
        best_of: name of the certifier that it is from; "" where none has one. Object array, per radius.
        parts: the certificates that it is chosen from, at one radius, by certifier."""

    RADIUS_AXIS = (*Certificate.RADIUS_AXIS, "best_of")

    best_of: np.ndarray
    parts: Mapping[str, Certificate]

    def n_drawn_for(self, i: int, n_samples: int) -> int:
        return max(part.n_drawn_for(i, n_samples) for part in self.parts.values())


class Best(WithoutDraws):
    """The largest certified PSNR of all chosen certifiers that certify one. Each row says which it is
    from: they are of different estimators (the mean of smoothed reconstructions, one of them, the
    reconstruction itself). That all of them hold has at least the confidence 1 - sum of 1 - c over
    them (union bound), and so has the one that is chosen; a deterministic one costs nothing. It
    belongs to evaluations, which have the others."""

    name = "best"
    declared = CertifierDeclaration(
        name="best", statement="the best of them: MSE to the clean image", order=70, colour="#222222", marker="*",
        shown="picture of the best", at="cell", column="certified_psnr_best", axis="best: certified PSNR, dB",
        short="≥ {:.2f} dB", curves={"psnr": "certified_psnr_best"},
        columns=(
            Column("certified_psnr_best", "dB", "The largest PSNR that a chosen certifier certifies.", certified=True,
                   heading="best certified PSNR", digits=".2f"),
            Column("best_of", "", "The certifier that the best certificate is from.", kind="text"),
        ),
    )  # fmt: skip

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> Certificate:  # fmt: skip
        raise ValueError("certifier='best' combines certificates of others: Best().combine(…)")

    def combines(self, other: Certifier) -> bool:
        return has_psnr(other) and on_the_signal(other)

    def combine(self, parts: Sequence[tuple[Certifier, Certificate]]) -> BestCertificate:
        import torch

        names, first = [certifier.name for certifier, _ in parts], parts[0][1]
        n_images = len(first.shown)
        errors = [[certifier.certified_error(c, i) for certifier, c in parts] for i in range(n_images)]
        chosen = [smallest(row) for row in errors]
        shown = torch.stack([parts[k or 0][1].reconstruction_median[i] for i, k in enumerate(chosen)])
        bound = [[math.nan if k is None else row[k]] for row, k in zip(errors, chosen, strict=True)]
        least = torch.tensor(bound, dtype=torch.float64, device=shown.device)
        best_of, reason = (object_rows([""], n_images) for _ in range(2))
        for i, k in enumerate(chosen):
            best_of[i, 0], reason[i, 0] = ("", why_none(names)) if k is None else (names[k], "")
        return BestCertificate(
            bound=least, k_index=object_rows([None], n_images), median=least * math.nan,
            reconstruction_median=shown[:, None], reconstruction_certified=shown[:, None], reason=reason,
            sound=all(c.sound for _, c in parts), network_evals=0, shown=shown, draws=least.new_empty(n_images, 0),
            best_of=best_of, parts={certifier.name: c for certifier, c in parts},
        )  # fmt: skip

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        from invsmooth.metrics import mse_to_psnr

        assert isinstance(certificate, BestCertificate)
        return {"certified_psnr_best": float(mse_to_psnr(certificate.bound[i])), "best_of": str(certificate.best_of[i])}

    # Its certificate file. What follows from the other certificates there is in records/certificate_files.

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        return {"parts": [TEXT], "radii": [{"best_of": TEXT}]}

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        assert isinstance(certificate, BestCertificate)
        return {"parts": list(certificate.parts), "radii": [{"best_of": str(name)} for name in certificate.best_of[i]]}


def has_psnr(certifier: Certifier) -> bool:
    return "psnr" in certifier.declared.curves and certifier.declared.at != "cell"


def on_the_signal(certifier: Certifier) -> bool:
    """A bound for attacks on the measurement is about other attacks: among the others it would be no bound."""
    return certifier.parameters.get("threat") in (None, "signal")


def left_out(certifiers: Sequence[Certifier]) -> list[str]:
    """A line for each certifier that ``best`` does not take, though it certifies a PSNR."""
    names = [c.name for c in certifiers if has_psnr(c) and not on_the_signal(c)]
    said = "its bounds are for attacks on the measurement, the others' for attacks on the signal"
    return [f"{n} is left out of best: {said}" for n in names if any(isinstance(c, Best) for c in certifiers)]


def smallest(errors: Sequence[float]) -> int | None:
    """Position of the smallest certified MSE, the first of equal ones; None where all are nan."""
    known = [k for k, error in enumerate(errors) if not math.isnan(error)]
    return min(known, key=lambda k: errors[k]) if known else None


def why_none(names: Sequence[str]) -> str:
    return f"no certificate: none of {', '.join(names)} gives one"
