"""Stop drawing as soon as "is the certified value at most t?" is decided, with a guarantee that survives the stopping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invsmooth.certificates.certificate import DecidedCertificate, object_rows
from invsmooth.certificates.confidence import decide, looks
from invsmooth.certificates.draws import Draws, ImageKeys
from invsmooth.certificates.impossible import why_not_decided_below
from invsmooth.certificates.order_statistics import (
    check_quantile,
    check_sampling,
    min_samples,
    ratio_of,
    shifted_quantile,
    why_none,
)
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.premises import checked
from invsmooth.metrics import coarse_mse
from invsmooth.operators.base import Operator


@dataclass(frozen=True)
class Decision:
    """Whether the certified value is at most the threshold.

    Attributes:
        below: for each image True (certified), False (no number of draws would certify it), or None (undecided). Object
            array.
        n_samples: draws that took, for each image.
        n_below: how many of them are at most the threshold.
        reason: why no image could be certified whatever was drawn; "" where it could.
    """

    below: np.ndarray
    n_samples: np.ndarray
    n_below: np.ndarray
    reason: str


def certify_threshold(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    threshold: float,
    sigma: float,
    eps: float,
    max_samples: int,
    confidence: float = 0.99,
    q: float = 0.5,
    x: Tensor | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    image_keys: ImageKeys | None = None,
) -> Decision:
    """Decide, image by image, whether the q̄-quantile of the MSE to f(y), or to ``x`` where that is given, is at most
    ``threshold``, with as few draws as it takes.

    The draws are looked at when there are 1, 2, 4, … times as many as a first answer needs, at last ``max_samples``; the
    failure probability is spread over them (:func:`invsmooth.certificates.confidence.looks`), so that an answer is wrong
    with probability at most 1 - c, whenever it comes. True certifies: for every z' within eps, at least a fraction q of the
    smoothed reconstructions has an MSE of at most ``threshold``. False says that the q̄-quantile at the observed signal
    is above it, so that no certificate of this kind exists, not that an attack does.

    Args: as for :func:`invsmooth.certificates.certify`.
    Raises: ValueError: a value outside its range.
    """
    check_sampling(max_samples, confidence)
    ratio, q_bar = ratio_of(eps, sigma), shifted_quantile(check_quantile(q), eps, sigma)
    # The first look spends half of 1 - c.
    first = min_samples(ratio, (1 + confidence) / 2, q)
    below, n_samples, counts = np.full(len(y), None, dtype=object), np.zeros(len(y), int), np.zeros(len(y), int)
    if first > max_samples:
        return Decision(below, n_samples, counts, why_none(ratio, max_samples, (1 + confidence) / 2, q))
    known = checked(estimator, operator, y, x)
    known.check_sigma(sigma, y)
    with torch.no_grad(), frozen(known):
        reference = known.reconstruction(y) if x is None else x
        keys = list(range(len(y))) if image_keys is None else list(image_keys)
        draws = Draws(known, operator, y, sigma, reference.shape[1:], seed, keys, chunk_size)
        for i in range(len(y)):
            n_below = drawn = 0
            for wanted, alpha in looks(int(first), max_samples, confidence):
                for _, x_hat in draws.image(i).chunks(drawn, wanted):
                    errors = coarse_mse(x_hat[0], reference[i : i + 1], known.rounding)
                    n_below += int((errors <= threshold).sum())
                drawn = wanted
                below[i] = decide(n_below, drawn, q_bar, alpha)
                if below[i] is not None:
                    break
            n_samples[i], counts[i] = drawn, n_below
    return Decision(below, n_samples, counts, "")


def decided_certificate(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    eps: Sequence[float],
    threshold: float,
    max_samples: int,
    x: Tensor | None = None,
    **settings: Any,
) -> DecidedCertificate:
    """:func:`certify_threshold` at every radius, as a certificate. Each radius draws as many as it takes."""
    known = checked(estimator, operator, y, x)
    decisions = [
        certify_threshold(known, operator, y, eps=e, threshold=threshold, max_samples=max_samples, x=x, **settings)
        for e in eps
    ]
    with torch.no_grad(), frozen(known):
        shown = known.reconstruction(y)
    below = np.stack([d.below for d in decisions], 1)
    n_drawn = np.stack([d.n_samples for d in decisions], 1).astype(object)
    reason = object_rows([d.reason for d in decisions], len(y))
    for i, j in np.ndindex(*below.shape):
        decision: bool | None = below.item(i, j)
        reason[i, j] = reason[i, j] or why_not_decided_below(decision, n_drawn.item(i, j), threshold)
    pictures = shown[:, None].expand(-1, len(eps), -1, -1, -1)
    certified = torch.tensor(np.equal(below, True), device=y.device)
    return DecidedCertificate(
        bound=torch.where(certified, threshold, torch.nan).double(), k_index=object_rows([None] * len(eps), len(y)),
        median=torch.full_like(certified, torch.nan, dtype=torch.float64), reconstruction_median=pictures,
        reconstruction_certified=pictures * torch.nan, reason=reason, sound=True,
        network_evals=1 + int(n_drawn.sum(1).max()), shown=shown, draws=shown.new_empty(len(y), 0), n_drawn=n_drawn,
        n_below=np.stack([d.n_below for d in decisions], 1).astype(object), below=below,
    )  # fmt: skip
