"""The certificates of measured images, and attacks that refute them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Remember
from invsmooth.certificates import Certificate, certify_all
from invsmooth.certificates.certifier import Certifier, Smoothing
from invsmooth.checks.truth import Attacked, TruthCheck
from invsmooth.core.files import replaced
from invsmooth.core.units import grey_or_none, to_grey_levels
from invsmooth.estimators.premises import Checked
from invsmooth.evaluation.attacked import AttackedImages
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import setting_name


@dataclass(frozen=True)
class Certified:
    """Certificates of a batch of images, by one certifier, from one measurement y of each."""

    certifier: Certifier
    sigma: float | None  # of the smoothing noise, [0, 1] pixel scale; None without
    eps: Sequence[float]  # labels of the radii: where units=paper, not the radii themselves
    y: Tensor
    certificate: Certificate  # with the radius axis
    seconds: float  # for each radius and image


def certify_at(
    at: str, estimator: Checked, measured: Measured, evaluation: Evaluation, remember: Remember, *, y: Tensor,
    eps: Sequence[float], sigma: float | None,
) -> list[Certified]:  # fmt: skip
    """Certificates of the certifiers taken at the ``"clean"`` or ``"attacked"`` measurements y.

    Certifiers with the same settings share their draws. The clean ones pay for all radii here. The
    attacked ones, which get one radius at a time, have paid before."""
    groups: dict[Smoothing, list[Certifier]] = {}
    for certifier in evaluation.certifiers_at(at, sigma):
        settings = evaluation.smoothing(sigma) if at == "clean" else evaluation.each(certifier, sigma)
        groups.setdefault(settings, []).append(certifier)
    found = []
    for settings, certifiers in groups.items():
        started = time.perf_counter()
        certificates = certify_all(
            estimator, measured.setting.operator, y, certifiers, settings, eps=evaluation.radii(eps), x=measured.x,
            image_keys=measured.names, remember=remember,
        )  # fmt: skip
        seconds = (time.perf_counter() - started) / (len(certifiers) * len(eps) * len(measured.names))
        found += [Certified(c, sigma, eps, y, certificates[c.name], seconds) for c in certifiers]
    return found


def combined(
    certifier: Certifier, evaluation: Evaluation, found: Mapping[str, Certified], y: Tensor, eps: float,
    sigma: float | None,
) -> Certified:  # fmt: skip
    """The certificate of one that combines others, at one radius. ``found``: those of the cell, by certifier."""
    own = [(part, found[part.name]) for part in evaluation.parts_of(certifier)]
    parts = [(part, one.certificate.at(one.eps.index(eps))) for part, one in own]
    return Certified(certifier, sigma, [eps], y, certifier.combine(parts), 0.0)


def check_truth(
    estimator: Checked, measured: Measured, evaluation: Evaluation, attacked: AttackedImages, certified: Certified,
    eps: float,
) -> TruthCheck | None:  # fmt: skip
    """Compare the certificate at one radius with the truth under the attack. None: at eps = 0,
    without a bound, or if the evaluation does not check this certifier."""
    certifier, certificate = certified.certifier, certified.certificate.at(certified.eps.index(eps))
    if eps == 0 or not evaluation.is_checked(certifier) or bool(certificate.bound.isnan().all()):
        return None
    case = Attacked(
        estimator=estimator, operator=measured.setting.operator, x=measured.x, b=measured.b, xi=attacked.found.xi,
        x_hat=attacked.x_hat, n_samples=evaluation.check_samples, image_keys=measured.names,
    )  # fmt: skip
    return certifier.truth(certificate, case, evaluation.each(certifier, certified.sigma))


@dataclass(frozen=True)
class Violation:
    """A certificate of one image that an attack refutes: the key of its row, and all to repeat the
    check, as ``torch.load(weights_only=True)`` reads it."""

    row: Mapping[str, Any]
    message: str
    evidence: Mapping[str, Any]

    def save(self, folder: Path, number: int) -> Path:
        # With the setting in the name: each of several processes has its own numbers.
        name = setting_name(self.row["image"], self.row["ratio"], self.row["sigma_b"])
        path = folder / "violations" / f"{number}_{name}.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as temporary:
            torch.save(dict(self.evidence), temporary)
        return path


def violations_of(
    measured: Measured, attacked: AttackedImages, certified: Certified, eps: float, truth: TruthCheck | None
) -> Iterator[Violation]:
    """The images of the batch whose certificate at one radius is refuted."""
    if truth is None:
        return
    for i in truth.violated.nonzero().flatten().tolist():
        setting, one = measured.setting, slice(i, i + 1)
        row = {
            "image": measured.names[i], "eps": eps, "sigma": grey_or_none(certified.sigma),
            "sigma_b": to_grey_levels(setting.sigma_b), "ratio": setting.ratio, "certifier": certified.certifier.name,
        }  # fmt: skip
        values = {k: float(getattr(truth, k)[i]) for k in ("certified", "estimate", "lower", "upper")}
        lower, upper = values["lower"], values["upper"]
        drawn = f"confidence interval {lower:.4g} … {upper:.4g} from {truth.n_samples} fresh draws"
        how = f"{truth.confidence:.4g} {drawn}" if truth.n_samples else "computed in float64"
        message = (
            f"{', '.join(f'{k} = {v}' for k, v in row.items() if v is not None)}: certified {values['certified']:.4g}, "
            f"but under the attack found the truth is at least {lower:.4g} ({how})"
        )
        evidence = row | values | {
            "x": measured.x[one], "b": measured.b[one], "xi": attacked.found.xi[one], **truth.evidence_of(i),
            "operator": type(setting.operator).__name__,
            # Not its state dict, which leaves out matrices that a seed determines.
            "operator_buffers": dict(setting.operator.named_buffers()),
            "confidence": truth.confidence, "n_samples": truth.n_samples, "seed": truth.seed,
        }  # fmt: skip
        yield Violation(row, message, evidence)
