"""The truth checks with everything as keywords."""

from __future__ import annotations

import torch

from invsmooth.certificates import Smoothing
from invsmooth.checks import truth
from invsmooth.checks.truth import Attacked, TruthCheck


def case(setting: tuple, options: dict) -> tuple[Attacked, Smoothing]:
    """Case and settings of a check, from ``(estimator, operator, x, b, xi)`` and keywords of both."""
    n_samples, image_keys = options.pop("n_samples"), options.pop("image_keys", None)
    names = ("sigma", "seed", "chunk_size", "q")
    smoothing = Smoothing(n_samples=1, **{name: options.pop(name) for name in names if name in options})
    return Attacked(*setting, x_hat=None, n_samples=n_samples, image_keys=image_keys), smoothing


def check_error(*setting: object, certified: torch.Tensor, **options: object) -> TruthCheck:
    return truth.check_error(*case(setting, options), certified, **options)  # type: ignore[arg-type]


def check_mean(*setting: object, certified: torch.Tensor, **options: object) -> TruthCheck:
    return truth.check_mean(*case(setting, options), certified, **options)  # type: ignore[arg-type]
