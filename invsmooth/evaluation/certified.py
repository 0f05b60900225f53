"""The certificates of measured images, and the check that tries to refute them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from invsmooth.cache import Remember
from invsmooth.certificates import Certificate, certify_all
from invsmooth.certificates.certifier import Certifier, Smoothing
from invsmooth.checks.truth import Attacked, TruthCheck
from invsmooth.estimators.premises import Checked
from invsmooth.evaluation.attacked import AttackedImages
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured


@dataclass(frozen=True)
class Certified:
    """Certificates of a batch of images, by one certifier, from one measurement y of each.

    Attributes:
        sigma: of the smoothing noise, [0, 1] pixel scale.
        eps: labels of the radii: where ``units=paper``, not the radii themselves.
        certificate: with the radius axis.
        seconds: for each radius and image.
    """

    certifier: Certifier
    sigma: float
    eps: Sequence[float]
    y: Tensor
    certificate: Certificate
    seconds: float


def certify_at(
    at: str, estimator: Checked, measured: Measured, evaluation: Evaluation, remember: Remember, *, y: Tensor,
    eps: Sequence[float], sigma: float,
) -> list[Certified]:  # fmt: skip
    """Certificates of the certifiers taken at the ``"clean"`` or ``"attacked"`` measurements y.

    Certifiers with the same settings share their draws. The clean ones pay for all radii here. The
    attacked ones, which get one radius at a time, have paid before."""
    groups: dict[Smoothing, list[Certifier]] = {}
    for certifier in evaluation.certifiers_at(at):
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
