"""Try to refute the certificates of an evaluation with the attacks that it found, and keep the evidence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invsmooth.certificates import Certificate, MeanCertificate
from invsmooth.certificates.center_smoothing import BALL_FACTOR, DELTA
from invsmooth.checks.truth import TruthCheck, check_error, check_mean
from invsmooth.core.errors import CertificateViolation
from invsmooth.core.units import to_unit_scale
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import setting_name
from invsmooth.records.rows import AT_ATTACKED


class TruthChecker:
    """attack <= truth <= certificate, in every cell that has both (:mod:`invsmooth.checks.truth`).

    A violation is kept until :meth:`conclude`, so that the rows that show it can be written first.

    Args:
        folder: of the run; evidence goes to ``folder/violations``.
        n_samples: fresh draws for each image and cell; 0 for no check.
        q: the certified quantile.
        seed: of the evaluation.
        chunk_size: draws at a time.
        radius_of: what ``radius`` is about; None where it is not checked.
    """

    def __init__(
        self, folder: Path, n_samples: int, q: float, seed: int, chunk_size: int | None, radius_of: str | None = "error"
    ) -> None:
        self.folder, self.n_samples, self.q, self.seed, self.chunk_size = folder, n_samples, q, seed, chunk_size
        self.radius_of = radius_of
        self.violations: list[str] = []

    def __call__(
        self, estimator: Estimator, measured: Measured, xi: Tensor, eps: float, sigma: float, certifier: str,
        certificate: Certificate, attacked: Tensor,
    ) -> TruthCheck | None:  # fmt: skip
        """Compare the certificate of a cell (at one radius) with the truth under the attack xi. sigma in grey levels.

        All are certified at x and looked at x + xi, but for ``discrepancy``: that is certified at x + xi, with the
        reconstruction ``attacked`` as its reference, and looked at x, which is as far away. What is looked at of
        ``radius`` is the error or discrepancy that is to stay below its threshold, and of ``center`` its ball of radius
        R-hat, the quantile of the distances to the centre, times 3 as in the bound. Without an attack (eps = 0) or any
        bound nothing is checked: None.
        """
        skips = self.n_samples == 0 or eps == 0 or bool(certificate.bound.isnan().all())
        if skips or (certifier == "radius" and self.radius_of is None):
            return None
        common: dict[str, Any] = {"sigma": to_unit_scale(sigma), "n_samples": self.n_samples, "seed": self.seed,
                  "image_keys": measured.names, "chunk_size": self.chunk_size}  # fmt: skip
        operator, x, b = measured.setting.operator, measured.x, measured.b
        extra: dict[str, Any]
        if isinstance(certificate, MeanCertificate):
            power, factor = 2, 1 / x[0].numel()
            extra = {"centre": certificate.shown, "radius": certificate.radius}
            found = check_mean(
                estimator, operator, x, b, xi, certified=(certificate.bound * x[0].numel()).sqrt(), **extra,
                **common | {"n_samples": max(4, self.n_samples)},
            )  # fmt: skip
        else:
            power, factor = 1, BALL_FACTOR if certifier == "center" else 1
            reference = attacked if certifier == AT_ATTACKED else certificate.shown
            if (self.radius_of if certifier == "radius" else certifier) == "error":
                reference = x
            at = torch.zeros_like(xi) if certifier == AT_ATTACKED else xi
            extra = {"reference": reference}
            found = check_error(
                estimator, operator, x, b, at, certified=certificate.bound / factor, q=self.quantile(certifier),
                **extra, **common,
            )  # fmt: skip
        # In the rows all are MSE as the bounds are; what reproduces a violation is in the check's own unit.
        extra |= {"checked": found.certified}
        found = scaled(found, power, factor)
        for i in found.violated.nonzero().flatten().tolist():
            self.keep(certifier, measured, xi, eps, sigma, found, i, {k: v[i : i + 1] for k, v in extra.items()})
        return found

    def quantile(self, certifier: str) -> float:
        """The one that is compared."""
        return 0.5 + DELTA if certifier == "center" else self.q

    def keep(
        self, certifier: str, measured: Measured, xi: Tensor, eps: float, sigma: float, found: TruthCheck, i: int,
        extra: dict[str, Tensor],
    ) -> None:  # fmt: skip
        """Save all that reproduces the violation at image i; note which row it is."""
        setting, name = measured.setting, measured.names[i]
        row = {
            "image": name, "eps": eps, "sigma": sigma, "sigma_b": setting.sigma_b, "ratio": setting.ratio,
            "certifier": certifier,
        }  # fmt: skip
        values = {k: float(getattr(found, k)[i]) for k in ("certified", "estimate", "lower", "upper")}
        evidence: dict[str, Any] = {
            **row, **values,
            **extra, "x": measured.x[i : i + 1], "b": measured.b[i : i + 1], "xi": xi[i : i + 1],
            "operator": type(setting.operator).__name__,
            # Not its state dict, which leaves out matrices that a seed determines.
            "operator_buffers": dict(setting.operator.named_buffers()),
            "quantile": self.quantile(certifier), "confidence": found.confidence, "n_samples": found.n_samples,
            "seed": found.seed,
        }  # fmt: skip
        number = len(self.violations)
        # With the setting: of several processes each counts its own.
        path = self.folder / "violations" / f"{number}_{setting_name(name, setting.ratio, setting.sigma_b)}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(evidence, path)
        self.violations.append(
            f"{', '.join(f'{k} = {v}' for k, v in row.items())}: certified {values['certified']:.4g}, but under the attack "
            f"found the truth is at least {values['lower']:.4g} ({found.confidence:.4g} confidence interval "
            f"{values['lower']:.4g} … {values['upper']:.4g} from {found.n_samples} fresh draws); evidence: {path}"
        )

    def conclude(self) -> None:
        """Raises CertificateViolation: certificates were refuted."""
        if self.violations:
            raise CertificateViolation("\n".join(["certificate refuted by an attack:", *self.violations]))


def scaled(check: TruthCheck, power: int, factor: float) -> TruthCheck:
    """A check of something else in the unit of the bounds in the rows, MSE: its values to this power, times a factor."""
    values = {k: getattr(check, k) ** power * factor for k in ("estimate", "lower", "upper", "certified")}
    return dataclasses.replace(check, **values)
