"""Whose error an attack maximises: the estimator's own, or the smoothed one's, which is deployed and certified."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.quantile_error import QuantileError
from invsmooth.attacks.starts import Found, ImageKeys, check_choice, keys_of
from invsmooth.core.errors import PremiseError
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.estimators.premises import Checked, check_tensor, checked
from invsmooth.operators.base import Operator

TARGETS = ("base", "mean", "median")
DRAWS = ("fresh", "fixed")
PIXELS_PER_CHUNK = {"cpu": 2**17, "cuda": 2**20}
"""Network input pixels at a time where no chunk size is given: a gradient keeps every layer's output, about 1 GB for each
image of 256 x 256 through ISTA-Net++."""


@dataclass(frozen=True)
class Target:
    """Whose error is maximised.

    ``base``: l(f(y_{x+xi}), x), the estimator alone (the paper).
    ``mean``: l((1/S) sum_k f(y_{x+xi+delta_k}), x), the mean of the smoothed reconstructions.
    ``median``: the q-quantile over k of l(f(y_{x+xi+delta_k}), x), which the percentile certificates bound.

    Without smoothing noise (sigma = 0) all are ``base``.

    Args:
        kind: ``"base"``, ``"mean"`` or ``"median"``.
        sigma: standard deviation of delta per pixel, [0, 1] pixel scale.
        n_samples: S, draws for each gradient.
        draws: ``"fresh"`` ones at every evaluation, which attack best, or ``"fixed"``, which make the loss a function of xi
            alone. Either differ from those of a certificate.
        q: of ``median``.
        n_around: of ``median``: how many draws near the quantile give the gradient; None for all.
        chunk_size: draws of each image at a time, which bounds the memory; None: by the size of the images.
    Raises:
        ValueError: a value outside its range.
    """

    kind: str = "base"
    sigma: float = 0.0
    n_samples: int = 1
    draws: str = "fresh"
    q: float = 0.5
    n_around: int | None = None
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_choice("target", self.kind, TARGETS)
        check_choice("draws", self.draws, DRAWS)
        if not (self.sigma >= 0 and math.isfinite(self.sigma)):
            raise ValueError(f"sigma={self.sigma} has to be a finite number >= 0")
        if not 0 < self.q < 1:
            raise ValueError(f"q={self.q} is not in (0, 1)")
        for name in ("n_samples", "n_around", "chunk_size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value} has to be at least 1")

    def objective(
        self,
        estimator: Estimator,
        operator: Operator,
        x: Tensor,
        b: Tensor | None,
        *,
        seed: int = 0,
        image_keys: ImageKeys | None = None,
    ) -> Objective:
        """The loss of each image x (B, C, H, W) as a function of its perturbation."""
        if self.kind == "base" or self.sigma == 0:
            return ReconstructionError(estimator, operator, x, b)
        draw = attack_draws(x, self.n_samples, self.draws == "fresh", seed, keys_of(x, image_keys))
        smoothed = SmoothedError(estimator, operator, x, b, self.sigma, draw, "mean", self.draws_at_a_time(x))
        return smoothed if self.kind == "mean" else QuantileError(smoothed, self.q, self.n_around)

    def draws_at_a_time(self, x: Tensor) -> int:
        return self.chunk_size or max(1, PIXELS_PER_CHUNK.get(x.device.type, 2**20) // x[:, 0].numel())

    def passes(self, x: Tensor) -> tuple[int, int]:
        """Forward passes for each gradient, and how many of them a gradient is taken through, for each image of x."""
        if self.kind == "base" or self.sigma == 0:
            return 1, 1
        n = self.n_samples
        if self.kind == "mean":  # in several chunks the mean is needed first
            return (n if n <= self.draws_at_a_time(x) else 2 * n), n
        around = n if self.n_around is None else min(self.n_around, n)
        return (n if self.n_around is None else n + around), around


BASE = Target()


def attack_draws(x: Tensor, n_samples: int, fresh: bool, seed: int, image_keys: ImageKeys) -> Callable[[], Tensor]:
    """A source of unit noise (B, S, C, H, W) like ``x``: the same at every call, or the next ``n_samples`` draws.

    Draw k of an image depends on (seed, its key, k), and is none that a certificate with the same seed uses: an attack must
    not see the draws that it will be judged by.
    """

    def draws(start: int) -> Tensor:
        noise = [smoothing_noise(x.shape[1:], start, start + n_samples, seed, "attack", key) for key in image_keys]
        return torch.stack(noise).to(x)

    if not fresh:
        fixed = draws(0)
        return lambda: fixed
    start = -n_samples

    def next_draws() -> Tensor:
        nonlocal start
        start += n_samples
        return draws(start)

    return next_draws


@dataclass(frozen=True)
class AttackResult(Found):
    """What an attack found, and its cost.

    Attributes:
        xi, loss, losses: see :class:`invsmooth.attacks.starts.Found`.
        zero_gradient: images whose gradient was zero wherever it was taken, shape (B,): the attack had no direction, and its
            loss says nothing about robustness.
        grad_evals: gradients through the network for each image: a smoothed target takes one for each draw.
        network_evals: forward passes of the network for each image, those of the gradients included.
    """

    zero_gradient: Tensor
    grad_evals: int
    network_evals: int


class WithGradient:
    """An objective that notes for which images a gradient was taken, and for which one was not zero."""

    def __init__(self, objective: Objective, n_images: int) -> None:
        self.objective, self.taken = objective, False
        self.moved = torch.zeros(n_images, dtype=torch.bool)

    def value(self, xi: Tensor) -> Tensor:
        return self.objective.value(xi)

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = self.objective.value_and_gradient(xi)
        self.taken = True
        self.moved |= gradient.flatten(1).ne(0).any(1).cpu()
        return loss, gradient

    @property
    def zero(self) -> Tensor:
        """Images of which every gradient taken was zero, shape (B,)."""
        return ~self.moved & self.taken


@dataclass
class Counting:
    """An estimator that counts the images it reconstructs, and those among them that a gradient is taken through."""

    estimator: Estimator
    images: int = field(default=0, init=False)
    gradients: int = field(default=0, init=False)

    def __call__(self, y: Tensor, operator: Operator) -> Tensor:
        x_hat = self.estimator(y, operator)
        self.images += len(y)
        self.gradients += len(y) * x_hat.requires_grad
        return x_hat


def on_target(
    search: Callable[[Objective, Tensor], Found],
    target: Target,
    estimator: Estimator,
    operator: Operator,
    x: Tensor,
    b: Tensor | None,
    seed: int,
    image_keys: ImageKeys | None,
) -> AttackResult:
    """Run ``search(objective, x)`` on a target, with the estimator in eval mode and its weights frozen.

    Raises: PremiseError: as :func:`invsmooth.estimators.premises.checked`, which is asked first.
    """
    # Lightning's test loop runs in inference mode, whose tensors autograd refuses: leave it, and copy what came from it.
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone() if x.is_inference() else x
        b = b.clone() if b is not None and b.is_inference() else b
        known = check_attacked(estimator, operator, x, b)
        known.check_sigma(target.sigma, known.y)
        counting = Counting(known)
        watched = WithGradient(target.objective(counting, operator, x, b, seed=seed, image_keys=image_keys), len(x))
        with frozen(known):
            found = search(watched, x)
    zero = watched.zero
    if bool(zero.any()):
        warnings.warn(
            f"{ZERO_GRADIENT} (images at positions {zero.nonzero().flatten().tolist()} of the batch)", stacklevel=3
        )
    return AttackResult(
        found.xi, found.loss, found.losses, zero.to(found.loss.device), counting.gradients // len(x),
        counting.images // len(x),
    )  # fmt: skip


ZERO_GRADIENT = "the gradient is zero wherever the attack took it: its loss is no sign of robustness"


def check_attacked(estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None) -> Checked:
    """The estimator, checked at the measurements of x. Raises PremiseError: also where b is not in their shape."""
    check_tensor("x", x)
    with torch.no_grad():
        y = operator.A(x)
    if b is not None:
        check_tensor("b", b)
        if b.shape != y.shape:
            raise PremiseError(f"b has shape {tuple(b.shape)}, but the measurements of x have {tuple(y.shape)}")
    return checked(estimator, operator, y if b is None else y + b, x)
