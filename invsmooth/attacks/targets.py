"""Whose error an attack maximises: the estimator's own, or the smoothed estimator's."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.quantile_error import QuantileError
from invsmooth.core.parameters import Count, NotNegative, Probability, check_fields
from invsmooth.core.rng import ImageKeys, keys_of, smoothing_noise
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

PIXELS_PER_CHUNK = {"cpu": 2**17, "cuda": 2**20}
"""Network input pixels at a time without a chunk size. A gradient keeps every layer's output: about
1 GB for each image of 256 x 256 through ISTA-Net++."""


@dataclass(frozen=True)
class Target:
    """Whose error is maximised.

    ``base``: l(f(y_{x+xi}), x), the estimator alone (the paper).
    ``mean``: l((1/S) sum_k f(y_{x+xi+delta_k}), x), the mean of the smoothed reconstructions.
    ``median``: the q-quantile over k of l(f(y_{x+xi+delta_k}), x), see :class:`QuantileError`.

    Without smoothing noise (sigma = 0) all are ``base``.
    Draws are ``"fresh"`` at every evaluation, the strongest attack, or ``"fixed"``: the loss is then
    a function of xi alone. Neither are those of a certificate.

    Raises: ValueError: a value outside its range."""

    kind: Literal["base", "mean", "median"] = "base"
    sigma: NotNegative = 0.0  # standard deviation of delta per pixel, [0, 1] pixel scale
    n_samples: Count = 1  # S, draws for each gradient
    draws: Literal["fresh", "fixed"] = "fresh"
    q: Probability = 0.5
    n_around: Count | None = None  # see QuantileError
    chunk_size: Count | None = None  # draws of each image at a time; None: by the size of the images

    def __post_init__(self) -> None:
        check_fields(self)

    def objective(
        self, estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None, *, seed: int = 0,
        image_keys: ImageKeys | None = None,
    ) -> Objective:  # fmt: skip
        """The loss of each image x (B, C, H, W) as a function of its perturbation."""
        if self.kind == "base" or self.sigma == 0:
            return ReconstructionError(estimator, operator, x, b)
        draw = attack_draws(x, self.n_samples, self.draws == "fresh", seed, keys_of(len(x), image_keys))
        smoothed = SmoothedError(estimator, operator, x, b, self.sigma, draw, "mean", self.draws_at_a_time(x))
        return smoothed if self.kind == "mean" else QuantileError(smoothed, self.q, self.n_around)

    def draws_at_a_time(self, x: Tensor) -> int:
        return self.chunk_size or max(1, PIXELS_PER_CHUNK.get(x.device.type, 2**20) // x[:, 0].numel())

    def passes(self, x: Tensor) -> tuple[int, int]:
        """For each gradient and image of x: forward passes, and how many of them have one taken."""
        if self.kind == "base" or self.sigma == 0:
            return 1, 1
        n = self.n_samples
        if self.kind == "mean":  # in several chunks the mean is needed first
            return (n if n <= self.draws_at_a_time(x) else 2 * n), n
        around = n if self.n_around is None else min(self.n_around, n)
        return (n if self.n_around is None else n + around), around


BASE = Target()


def attack_draws(x: Tensor, n_samples: int, fresh: bool, seed: int, image_keys: ImageKeys) -> Callable[[], Tensor]:
    """A source of unit noise (B, S, C, H, W) like ``x``: the same at every call, or the next draws.

    Draw k of an image depends on (seed, its key, k), and is none that a certificate with the same
    seed uses: an attack must not see the draws that it will be judged by."""

    def draws(start: int) -> Tensor:
        noise = [smoothing_noise(x.shape[1:], start, start + n_samples, seed, "attack", key, device=x.device)
                 for key in image_keys]  # fmt: skip
        return torch.stack(noise).to(x.dtype)

    if fresh:
        starts = itertools.count(0, n_samples)
        return lambda: draws(next(starts))
    fixed = draws(0)
    return lambda: fixed
