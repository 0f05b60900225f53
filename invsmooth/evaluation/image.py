"""Evaluate one measured image (or a batch). Nothing is written here."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invsmooth.cache import Remember, not_kept
from invsmooth.certificates import Certificate, pixel_intervals
from invsmooth.checks.truth import TruthCheck
from invsmooth.core.units import GREY_LEVELS, PAPER_LABEL, Units, eps_over_sigma, grey_or_none, to_grey_levels
from invsmooth.estimators.bf16 import as_run
from invsmooth.estimators.fastest import fastest
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.premises import Checked, checked
from invsmooth.evaluation.attacked import AttackedImages, Quality, attack_all, quality
from invsmooth.evaluation.certified import Certified, Violation, certify_at, check_truth, combined, violations_of
from invsmooth.evaluation.settings import Evaluation
from invsmooth.evaluation.watch import QUIET, EvaluationWatch
from invsmooth.metrics import psnr
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import KINDS, as_picture

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageResult:
    """What was found about a batch of measured images."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # without the columns of the run
    pictures: dict[tuple[float, float | None], dict[str, np.ndarray]] = field(default_factory=dict)
    certificates: list[Certified] = field(default_factory=list)  # with their radius axis
    violations: list[Violation] = field(default_factory=list)


def evaluate_image(
    estimator: Estimator, measured: Measured, evaluation: Evaluation, remember: Remember = not_kept, *, number: int = 0,
    watch: EvaluationWatch = QUIET,
) -> ImageResult:  # fmt: skip
    """Attack the images and certify the reconstructions of their measurements, smoothed or not, in
    every cell (eps, sigma). Each certificate is compared with the attack that was found.

    Args:
        estimator: any ``estimator(y, operator)``; it is in eval mode with frozen weights meanwhile.
        remember: caches attacks, and errors and moments of draws.
        number: of the image in its measurement setting: the first ``evaluation.pictures`` get
            pictures.
        watch: is told what is being done.
    Raises: PremiseError: attacks or certificates would mean nothing here."""
    operator, x, result = measured.setting.operator, measured.x, ImageResult()
    estimator = as_run(estimator, evaluation.precision)
    with torch.no_grad(), frozen(estimator), fastest(estimator, operator, measured.y):
        known = checked(estimator, operator, measured.y, x)

        def certify(at: str, y: Tensor, eps: Sequence[float], sigma: float | None) -> list[Certified]:
            watch.doing(f"certify {at}" + ("" if sigma is None else f" at sigma = {to_grey_levels(sigma):g}"))
            return certify_at(at, known, measured, evaluation, remember, y=y, eps=eps, sigma=sigma)

        attacks = attack_all(known, measured, evaluation, remember, watch)
        clean = {sigma: certify("clean", y=measured.y, eps=evaluation.eps, sigma=sigma) for sigma in evaluation.levels}
        result.certificates.extend(c for found in clean.values() for c in found)
        same = quality("clean", known.x_hat, x) | {"psnr_measured": psnr(measured.back, x).tolist()}
        unsmoothed: dict[str, Certified] = {}
        for eps, sigma in evaluation.cells:
            attacked = attacks[eps, evaluation.target_of(eps, sigma)]
            own, chosen = certify("attacked", y=attacked.y, eps=[eps], sigma=sigma), evaluation.certifiers_in(sigma)
            found = {c.certifier.name: c for c in (*clean[sigma], *own)}
            unsmoothed = found if sigma is None else unsmoothed  # it comes first at each eps
            cell = [combined(c, evaluation, unsmoothed | found, measured.y, eps, sigma)
                    for c in chosen if c.declared.at == "cell"]  # fmt: skip
            result.certificates.extend([*own, *cell])
            found = found | {c.certifier.name: c for c in cell}
            watch.doing(f"check the certificates at eps = {eps:g}")
            for certified in (found[c.name] for c in chosen):
                truth = check_truth(known, measured, evaluation, attacked, certified, eps)
                result.rows.extend(rows_of(measured, evaluation, same, attacked, certified, eps, truth))
                result.violations.extend(violations_of(measured, attacked, certified, eps, truth))
            if number < evaluation.pictures:
                first = found[chosen[0].name]
                result.pictures[eps, sigma] = picture_arrays(known, measured, evaluation, attacked, first, eps)
            if sigma == evaluation.levels[-1]:
                log.info("%s (%s): certified at eps = %g", ", ".join(measured.names), measured.setting, eps)
    return result


def rows_of(
    measured: Measured, evaluation: Evaluation, same: Quality, attacked: AttackedImages, certified: Certified,
    eps: float, truth: TruthCheck | None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The row of each image in one cell; ``same``: the columns that all cells share."""
    certifier, certificate = certified.certifier, certified.certificate.at(certified.eps.index(eps))
    each, sigma = evaluation.each(certifier, certified.sigma), grey_or_none(certified.sigma)
    common = {
        "eps": eps, "sigma": sigma, "ratio": measured.setting.ratio, "certifier": certifier.name,
        "sigma_b": to_grey_levels(measured.setting.sigma_b), "units": evaluation.units.value,
        "eps_over_sigma": math.nan if sigma is None else eps_over_sigma(eps, sigma, evaluation.units),
        "quantile": evaluation.quantile, "seed": evaluation.seed, "precision": evaluation.precision,
        "confidence": evaluation.confidence_of(certifier), "confidence_each": each.confidence,
        "simultaneous": evaluation.simultaneous, "joint_over_eps": certifier.joint_over_eps(each),
        "sound": certificate.sound and evaluation.units is Units.matched, "abstained": False,
        "impossible": bool(evaluation.why_impossible(certifier, eps, certified.sigma)),
        "attack_target": evaluation.attack_target(certified.sigma),
        "attack_grad_evals": attacked.found.grad_evals,
        "attack_precision": "bf16" if attacked.found.bf16 else evaluation.precision,
        "network_evals": certificate.network_evals, "seconds": certified.seconds,
    }  # fmt: skip
    values = same | attacked.quality | shown_quality(certified, certificate, measured)
    for name, of_check in (("truth", "estimate"), ("truth_lower", "lower"), ("truth_upper", "upper")):
        values[name] = [math.nan] * len(measured.names) if truth is None else getattr(truth, of_check).tolist()
    values["attack_norm"] = attacked.found.xi.flatten(1).norm(dim=1).tolist()
    for i, name in enumerate(measured.names):
        yield {
            **common, **{k: v[i] for k, v in values.items()},
            "image": name, "k_index": certificate.k_index[i], "reason": certificate.reason[i],
            "bound": float(certificate.bound[i]), "n_samples": certificate.n_drawn_for(i, evaluation.n_samples),
            "attack_zero_gradient": bool(attacked.found.zero_gradient[i]),
            **certifier.row(certificate, i, evaluation.units),
        }  # fmt: skip


def shown_quality(certified: Certified, certificate: Certificate, measured: Measured) -> Quality:
    """Quality of the picture that is shown and of the draw of rank K, which not every certifier has."""
    found = quality("median", certificate.reconstruction_median, measured.x)
    if certified.certifier.declared.ranked:
        return found | quality("certified", certificate.reconstruction_certified, measured.x)
    return found | {k: [math.nan] * len(measured.names) for k in ("psnr_certified", "ssim_certified")}


def picture_arrays(
    estimator: Checked, measured: Measured, evaluation: Evaluation, attacked: AttackedImages, certified: Certified,
    eps: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The arrays of a picture file (:func:`invsmooth.records.pictures.picture_file`) for the first
    image of a batch. Images that are not finite are left out."""
    certificate = certified.certificate.at(certified.eps.index(eps))
    images = (
        measured.x, measured.back, estimator.x_hat, attacked.x_hat,
        certificate.reconstruction_median, certificate.reconstruction_certified,
    )  # fmt: skip
    finite = {
        kind: as_picture(image[0]) for kind, image in zip(KINDS, images, strict=True) if image[0].isfinite().all()
    }
    found = {k: (image.clamp(0, 1) * GREY_LEVELS).round().byte().cpu().numpy() for k, image in finite.items()}
    return found | interval_arrays(estimator, measured, evaluation, certified, eps)


def interval_arrays(
    estimator: Checked, measured: Measured, evaluation: Evaluation, certified: Certified, eps: float
) -> dict[str, np.ndarray]:
    """The certified interval of each pixel of the first image, at the certificate's measurement.

    Their confidence is that of a certificate at one radius alone. A DKW band is of no pixel: under
    ``over_eps=dkw``, Bonferroni pays for the radii here."""
    kind = evaluation.pixel_intervals
    if kind == "none" or certified.sigma is None:
        return {}
    found = pixel_intervals(
        estimator, measured.setting.operator, certified.y[:1], sigma=certified.sigma, eps=evaluation.radii([eps])[0],
        n_samples=evaluation.n_samples, confidence=evaluation.confidence_alone, q=evaluation.quantile,
        simultaneous="bonferroni" if kind == "bonferroni" else "none", seed=evaluation.seed,
        chunk_size=evaluation.chunk_size, image_keys=list(measured.names[:1]),
    )  # fmt: skip
    arrays = {k: as_picture(getattr(found, k)[0]).float().cpu().numpy() for k in ("lower", "upper")}
    return arrays | {"pixel_intervals": np.array(kind), "label": np.array(label(evaluation))}


def label(evaluation: Evaluation) -> str:
    """A sentence that says what the intervals are. It stays with the arrays."""
    joint = evaluation.pixel_intervals == "bonferroni"
    whose = "all pixels of the image together" if joint else "each pixel on its own"
    paid = f", and over all {evaluation.simultaneous}" if evaluation.simultaneous else ""
    confidence = evaluation.confidence if paid else evaluation.confidence_alone
    words = f"interval of the {evaluation.quantile:g}-quantile of each pixel; confidence {confidence:g}: {whose}{paid}"
    return f"{words}; {PAPER_LABEL}" if evaluation.units is Units.paper else words
