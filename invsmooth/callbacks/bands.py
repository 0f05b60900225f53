"""The certified interval of each pixel, for the images whose pictures are kept."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from invsmooth.callbacks.certify_plan import CertifyPlan
from invsmooth.certificates import pixel_bands
from invsmooth.estimators.frozen import Estimator
from invsmooth.measurement import Measured
from invsmooth.rows import AT_ATTACKED
from invsmooth.units import certified_radius, to_unit_scale


def bands_of_first(
    plan: CertifyPlan, estimator: Estimator, measured: Measured, attacked_y: Tensor, eps: float, sigma: float
) -> dict[str, np.ndarray]:
    """What :func:`invsmooth.pictures.picture_file` says of bands, for the first image of a batch, at the measurement that
    the first certifier is taken at; nothing without ``certify.bands``.

    They hold with the confidence of a single certificate: shared out over eps, sigma and images by Bonferroni where the
    plan says so (``over_eps="dkw"`` is about certificates: a band then holds at each radius on its own).
    """
    if plan.bands == "none":
        return {}
    y = attacked_y if plan.certifiers[0] == AT_ATTACKED else measured.y
    found = pixel_bands(
        estimator, measured.setting.operator, y[:1], sigma=to_unit_scale(sigma), eps=certified_radius(eps, plan.units),
        n_samples=plan.n_samples, confidence=plan.confidence_each, q=plan.quantile,
        simultaneous="bonferroni" if plan.bands == "bonferroni" else "none", seed=plan.seed,
        chunk_size=plan.chunk_size, image_keys=list(measured.names[:1]),
    )  # fmt: skip
    ends = {"lower": found.lower, "upper": found.upper}
    return {k: v[0, 0].float().cpu().numpy() for k, v in ends.items()} | {"bands": np.array(plan.bands)}
