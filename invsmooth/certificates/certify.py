"""Certify how far any attack of radius eps can move a smoothed reconstruction (SPEC section 6).

Two certifiers share one set of draws F_k = l(f(y + A delta_k), r), delta_k ~ N(0, sigma² I); they differ in r:

- ``discrepancy``: r = f(y), the reconstruction just made.
- ``error``: r = x, the clean image (evaluation only): the bound is a certified MSE.

What a bound says. With probability at least ``confidence`` over the draws, for EVERY signal z' within eps of the
observed one (the clean signal among them, where an attack of at most eps separates the two), at least a fraction q of the
smoothed reconstructions f(A(z' + delta) + b) has an MSE to r of at most ``bound``. The reference r is held fixed: it
depends neither on delta nor on z'. The paper's Corollary 3.2 lets it move with the attack, and is false then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from invsmooth.certificates.order_statistics import (
    check_quantile,
    check_sampling,
    order_statistic_index,
    ratio_of,
    shifted_quantile,
    why_none,
)
from invsmooth.certificates.sampling import ImageKeys, noisy_measurements, smoothed_errors, unit_noise
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.operators.base import Operator

CERTIFIERS = ("discrepancy", "error")


@dataclass(frozen=True)
class Certificate:
    """Certificates of a batch of images over a grid of radii.

    Every field but ``sound`` is indexed ``[image]`` where eps was given as a number, and ``[image, radius]`` where it
    was a sequence. MSE on the [0, 1] pixel scale.

    Attributes:
        bound: certified MSE to the reference: the draw of rank ``k_index``; nan where none exists.
        k_index: rank K of that draw among the S in ascending order, 1-based; None where none exists. Object array.
        median: MSE of the median draw (rank ceil(S/2)): an estimate, without confidence.
        reconstruction_median: the reconstruction of that draw, shape (…, C, H, W) (paper, Algorithm 3).
        reconstruction_certified: the reconstruction of rank K; nan where none exists.
        reason: why there is no bound, and what would give one; "" where there is one. Object array.
        sound: whether the bound holds for all ||xi||_2 <= eps as given.
        network_evals: network evaluations for each image.
    """

    bound: Tensor
    k_index: np.ndarray
    median: Tensor
    reconstruction_median: Tensor
    reconstruction_certified: Tensor
    reason: np.ndarray
    sound: bool
    network_evals: int

    def at(self, radius: int) -> Certificate:
        """The certificate at one radius of the grid, by its position; indexed by image alone."""
        j = radius
        return Certificate(
            self.bound[:, j], self.k_index[:, j], self.median[:, j], self.reconstruction_median[:, j],
            self.reconstruction_certified[:, j], self.reason[:, j], self.sound, self.network_evals,
        )  # fmt: skip


def certify(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    sigma: float,
    eps: float | Sequence[float],
    n_samples: int,
    confidence: float = 0.99,
    q: float = 0.5,
    certifier: str = "discrepancy",
    x: Tensor | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    image_keys: ImageKeys | None = None,
) -> Certificate:
    """Certify the smoothed reconstructions of measurements ``y`` at every radius of ``eps``, from one set of draws.

    Each radius holds on its own with the confidence given; several read off together share one set of draws.

    Args:
        estimator, operator: the reconstruction ``estimator(y, operator)``.
        y: measurements, shape (B, …).
        sigma: standard deviation per pixel of the smoothing noise, [0, 1] pixel scale.
        eps: l2 radius or radii over one whole image, [0, 1] pixel scale.
        n_samples: S, draws for each image.
        confidence: c, one-sided.
        q: the quantile of the smoothed reconstructions that is bounded.
        certifier: ``"discrepancy"`` or ``"error"``; see the module.
        x: clean images, shape (B, C, H, W); ``"error"`` needs them.
        seed: of the draws.
        chunk_size: draws at a time, which bounds the memory; the result does not depend on it (but for rounding).
        image_keys: a name for each image, which seeds its draws; left out, its position in the batch.
    Raises:
        ValueError: a value outside its range, an unknown certifier, or ``"error"`` without ``x``.
    """
    if certifier not in CERTIFIERS:
        raise ValueError(f"certifier={certifier!r} is none of {', '.join(CERTIFIERS)}")
    radii = [float(eps)] if isinstance(eps, int | float) else [float(e) for e in eps]
    found = certify_all(
        estimator, operator, y, sigma=sigma, eps=radii, n_samples=n_samples, confidence=confidence, q=q,
        certifiers=(certifier,), x=x, seed=seed, chunk_size=chunk_size, image_keys=image_keys,
    )[certifier]  # fmt: skip
    return found.at(0) if isinstance(eps, int | float) else found


def certify_all(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    sigma: float,
    eps: Sequence[float],
    n_samples: int,
    confidence: float,
    q: float,
    certifiers: Sequence[str],
    x: Tensor | None = None,
    seed: int = 0,
    chunk_size: int | None = None,
    image_keys: ImageKeys | None = None,
) -> dict[str, Certificate]:
    """Several certifiers over one set of draws; see :func:`certify`. The results have the radius axis."""
    check_sampling(n_samples, confidence)
    check_quantile(q)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size} has to be at least 1")
    if "error" in certifiers and x is None:
        raise ValueError("certifier='error' compares with the clean image: give x")
    ratios = [ratio_of(e, sigma) for e in eps]
    ranks = [rank_of(ratio, n_samples, confidence, q) for ratio in ratios]
    reasons = [why_none(ratio, n_samples, confidence, q) for ratio in ratios]
    keys = list(range(len(y))) if image_keys is None else list(image_keys)

    with torch.no_grad(), frozen(estimator):
        reference = estimator(y, operator)
        references = {"discrepancy": reference, "error": x}
        # Without noise all draws are the same one.
        n_drawn = n_samples if sigma > 0 else 1
        errors = smoothed_errors(
            estimator, operator, y, [r for c in certifiers if (r := references[c]) is not None], sigma=sigma,
            n_samples=n_drawn, image_shape=reference.shape[1:], seed=seed, image_keys=keys, chunk_size=chunk_size,
        ).expand(-1, -1, n_samples)  # fmt: skip

        def reconstruct(draws: Tensor) -> Tensor:
            """Draw ``draws[i]`` of each image i again: (B, C, H, W). Cheaper than keeping all S reconstructions."""
            noise = [
                unit_noise(reference.shape[1:], k, k + 1, seed, [key])
                for k, key in zip(draws.tolist(), keys, strict=True)
            ]
            return estimator(noisy_measurements(operator, y, torch.cat(noise), sigma), operator)

        found = {}
        for certifier, values in zip(certifiers, errors, strict=True):
            ascending, draw = values.sort(dim=1, stable=True)
            rank_median = math.ceil(n_samples / 2)
            wanted = sorted({rank_median, *(k for k in ranks if k is not None)})
            pictures = {k: reconstruct(draw[:, k - 1]) for k in wanted}
            nothing = torch.full_like(reference, math.nan)
            bound = [ascending[:, k - 1] if k else torch.full_like(ascending[:, 0], math.nan) for k in ranks]
            found[certifier] = Certificate(
                bound=torch.stack(bound, 1),
                k_index=object_rows(ranks, len(y)),
                median=ascending[:, rank_median - 1 : rank_median].expand(-1, len(ranks)),
                reconstruction_median=torch.stack([pictures[rank_median]] * len(ranks), 1),
                reconstruction_certified=torch.stack([pictures[k] if k else nothing for k in ranks], 1),
                reason=object_rows(reasons, len(y)),
                sound=True,
                network_evals=1 + n_drawn + len(wanted),
            )
    return found


def rank_of(ratio: float, n_samples: int, confidence: float, q: float) -> int | None:
    """K of a certificate at eps/sigma = ``ratio``."""
    q_bar = 1.0 if math.isinf(ratio) else shifted_quantile(q, ratio, 1)
    return order_statistic_index(n_samples, q_bar, confidence)


def object_rows(row: Sequence[object], n_rows: int) -> np.ndarray:
    """An object array of shape (n_rows, len(row)) whose rows all are ``row``."""
    array = np.empty((n_rows, len(row)), dtype=object)
    array[:] = row
    return array
