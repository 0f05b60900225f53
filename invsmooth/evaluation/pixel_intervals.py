"""The certified interval of each pixel, for the images whose pictures are kept."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from invsmooth.certificates import pixel_intervals
from invsmooth.core.units import PAPER_LABEL, Units, certified_radius, to_unit_scale
from invsmooth.estimators.frozen import Estimator
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.operators.measurement import Measured
from invsmooth.records.rows import AT_ATTACKED


def intervals_of_first(
    plan: CertifyPlan, estimator: Estimator, measured: Measured, attacked_y: Tensor, eps: float, sigma: float
) -> dict[str, np.ndarray]:
    """The arrays of the pixel intervals (:func:`invsmooth.records.pictures.picture_file`) for the first image of a batch, at
    the measurement of the first certifier. Empty without ``certify.bands``.

    They hold with the confidence of what is certified at one radius alone, shared out over eps, sigma and images as the
    plan says (:attr:`CertifyPlan.each_alone`; no DKW band is of a pixel, so that ``dkw`` pays by Bonferroni here).
    """
    if plan.bands == "none":
        return {}
    y = attacked_y if plan.certifiers[0] == AT_ATTACKED else measured.y
    found = pixel_intervals(
        estimator, measured.setting.operator, y[:1], sigma=to_unit_scale(sigma), eps=certified_radius(eps, plan.units),
        n_samples=plan.n_samples, confidence=plan.each_alone, q=plan.quantile,
        simultaneous="bonferroni" if plan.bands == "bonferroni" else "none", seed=plan.seed,
        chunk_size=plan.chunk_size, image_keys=list(measured.names[:1]),
    )  # fmt: skip
    ends = {"lower": found.lower, "upper": found.upper}
    arrays = {k: v[0, 0].float().cpu().numpy() for k, v in ends.items()}
    return arrays | {"bands": np.array(plan.bands), "label": np.array(label(plan))}


def label(plan: CertifyPlan) -> str:
    """What the intervals are, in words that stay with the arrays."""
    whose = "all pixels of the image together" if plan.bands == "bonferroni" else "each pixel on its own"
    paid = f", and over all {plan.simultaneous}" if plan.simultaneous else ""
    confidence = plan.confidence if plan.simultaneous else plan.each_alone
    words = f"interval of the {plan.quantile:g}-quantile of each pixel; confidence {confidence:g}: {whose}{paid}"
    return f"{words}; {PAPER_LABEL}" if plan.units is Units.paper else words
