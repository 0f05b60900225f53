"""Keep the pictures of an evaluation cell beside the rows, for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from invsmooth.certificates import Certificate
from invsmooth.core.units import GREY_LEVELS
from invsmooth.operators.measurement import Measured
from invsmooth.records.pictures import KINDS, picture_file


def save_pictures(
    folder: Path,
    measured: Measured,
    eps: float,
    sigma: float,
    x_hat: Tensor,
    attacked: Tensor,
    certificate: Certificate,
    bands: Mapping[str, np.ndarray],
) -> Path:
    """Keep the first image of a batch: clean, measured (A^T y), reconstructed, attacked, smoothed median, draw of rank K;
    and ``bands`` (:func:`invsmooth.evaluation.pixel_intervals.intervals_of_first`) as they are. Returns the file."""
    setting = measured.setting
    images: Sequence[Tensor] = (
        measured.x,
        setting.operator.A_adjoint(measured.y),
        x_hat,
        attacked,
        certificate.reconstruction_median,
        certificate.reconstruction_certified,
    )
    path = picture_file(folder, measured.names[0], setting.ratio, setting.sigma_b, eps, sigma)
    path.parent.mkdir(exist_ok=True)
    arrays = {kind: image[0, 0] for kind, image in zip(KINDS, images, strict=True) if image[0].isfinite().all()}
    np.savez_compressed(path, allow_pickle=False, **{k: to_8_bit(v) for k, v in arrays.items()}, **bands)
    return path


def to_8_bit(image: Tensor) -> np.ndarray:
    """A [0, 1] image rounded to 8-bit grey levels."""
    return (image.clamp(0, 1) * GREY_LEVELS).round().byte().cpu().numpy()
