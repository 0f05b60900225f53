"""The pictures of a cell, with the certified interval of each pixel."""

from __future__ import annotations

import numpy as np

from invsmooth.certificates import pixel_intervals
from invsmooth.core.units import GREY_LEVELS, PAPER_LABEL, Units
from invsmooth.estimators.premises import Checked
from invsmooth.evaluation.attacked import AttackedImages
from invsmooth.evaluation.certified import Certified
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import KINDS


def picture_arrays(
    estimator: Checked, measured: Measured, evaluation: Evaluation, attacked: AttackedImages, certified: Certified,
    eps: float,
) -> dict[str, np.ndarray]:  # fmt: skip
    """The arrays of a picture file (:func:`invsmooth.records.pictures.picture_file`) for the first
    image of a batch. Images that are not finite are left out."""
    certificate = certified.certificate.at(certified.eps.index(eps))
    images = (
        measured.x, measured.setting.operator.A_adjoint(measured.y), estimator.x_hat, attacked.x_hat,
        certificate.reconstruction_median, certificate.reconstruction_certified,
    )  # fmt: skip
    finite = {kind: image[0, 0] for kind, image in zip(KINDS, images, strict=True) if image[0].isfinite().all()}
    found = {k: (image.clamp(0, 1) * GREY_LEVELS).round().byte().cpu().numpy() for k, image in finite.items()}
    return found | interval_arrays(estimator, measured, evaluation, certified, eps)


def interval_arrays(
    estimator: Checked, measured: Measured, evaluation: Evaluation, certified: Certified, eps: float
) -> dict[str, np.ndarray]:
    """The certified interval of each pixel of the first image, at the certificate's measurement.

    Their confidence is that of a certificate at one radius alone. A DKW band is of no pixel: under
    ``over_eps=dkw``, Bonferroni pays for the radii here."""
    kind = evaluation.pixel_intervals
    if kind == "none":
        return {}
    found = pixel_intervals(
        estimator, measured.setting.operator, certified.y[:1], sigma=certified.sigma, eps=evaluation.radii([eps])[0],
        n_samples=evaluation.n_samples, confidence=evaluation.confidence_alone, q=evaluation.quantile,
        simultaneous="bonferroni" if kind == "bonferroni" else "none", seed=evaluation.seed,
        chunk_size=evaluation.chunk_size, image_keys=list(measured.names[:1]),
    )  # fmt: skip
    arrays = {k: getattr(found, k)[0, 0].float().cpu().numpy() for k in ("lower", "upper")}
    return arrays | {"pixel_intervals": np.array(kind), "label": np.array(label(evaluation))}


def label(evaluation: Evaluation) -> str:
    """A sentence that says what the intervals are. It stays with the arrays."""
    joint = evaluation.pixel_intervals == "bonferroni"
    whose = "all pixels of the image together" if joint else "each pixel on its own"
    paid = f", and over all {evaluation.simultaneous}" if evaluation.simultaneous else ""
    confidence = evaluation.confidence if paid else evaluation.confidence_alone
    words = f"interval of the {evaluation.quantile:g}-quantile of each pixel; confidence {confidence:g}: {whose}{paid}"
    return f"{words}; {PAPER_LABEL}" if evaluation.units is Units.paper else words
