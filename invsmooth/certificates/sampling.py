"""Draw smoothed reconstructions f(y + A delta_k), in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Remember, not_kept
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator
from invsmooth.rng import smoothing_noise

PIXELS_PER_CHUNK = {"cpu": 2**19, "cuda": 2**23}
"""Network input pixels at a time where no chunk size is given: 8 images of 256 x 256 fill the cores of a CPU, and more
only costs cache; a GPU takes many."""

KEPT_BYTES = 2**27
"""Reconstructions are kept up to this size; beyond it the few that are needed again are drawn again."""

ImageKeys = Sequence[str | int]
"""What names each image of a batch in the noise's seed: its noise does not depend on where in which batch it stands."""


@dataclass(frozen=True)
class Draws:
    """The smoothed reconstructions f(y + A delta_k), k = 0, 1, 2, …, delta_k ~ N(0, sigma² I), of a batch of images.

    Draw k of an image depends on (seed, its key, k) alone and not on the chunks, so that different k are independent and
    delta_k/sigma is common to all sigma. Noise is added to the measurement, where a decoder can add it, and nothing is
    clamped. Where A has orthonormal rows this is the same as adding N(0, sigma²) to y.

    Attributes:
        estimator, operator: f and A.
        y: measurements, shape (B, …).
        image_shape: (C, H, W).
        chunk_size: draws of every image at a time; None chooses it by the image size.
        made: the first draws, which are made once for several uses; None for none.
        remember: keeps what was found of the draws (MSE, moments), which is far less than the draws.
    """

    estimator: Estimator
    operator: Operator
    y: Tensor
    sigma: float
    image_shape: torch.Size
    seed: int
    image_keys: ImageKeys
    chunk_size: int | None = None
    made: Made | None = None
    remember: Remember = not_kept

    def __len__(self) -> int:
        """B, the number of images."""
        return len(self.y)

    def chunks(self, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (k, f(y + A delta_k)): a slice of start … stop - 1 counted from ``start``, and (B, len(k), C, H, W).

        Raises: FloatingPointError: a reconstruction is not finite.
        """
        for first in range(start, stop, self.step):
            last = min(first + self.step, stop)
            if self.made is not None and last <= self.made.n_samples:
                yield slice(first - start, last - start), self.made.x_hat[:, first:last]
            else:
                yield slice(first - start, last - start), self.chunk(first, last)

    @property
    def step(self) -> int:
        """Draws of every image at a time."""
        if self.chunk_size is not None:
            return self.chunk_size
        return max(1, PIXELS_PER_CHUNK.get(self.y.device.type, 2**23) // (len(self) * self.image_shape.numel()))

    def chunk(self, first: int, last: int) -> Tensor:
        """The draws first … last - 1, made at once: (B, last - first, C, H, W)."""
        noise = torch.empty(len(self), last - first, *self.image_shape)
        # One image after the other, because the noise is made in whole blocks, which can be more than the chunk.
        for own, key in zip(noise, self.image_keys, strict=True):
            own.copy_(smoothing_noise(self.image_shape, first, last, self.seed, key))
        repeated = self.y.repeat_interleave(last - first, dim=0)
        return self.reconstruct(repeated, noise.flatten(0, 1)).unflatten(0, (len(self), last - first))

    def making(self, n_samples: int) -> Draws:
        """The same draws, the first ``n_samples`` of them made at once for several uses, when they are first needed, if that
        is no more than KEPT_BYTES."""
        return replace(self, made=Made(self, n_samples)) if self.fit(n_samples) else self

    def content(self, stop: int) -> dict[str, Any]:
        """What determines the draws 0 … stop - 1 beside estimator and operator, to the last bit: rounding depends on how
        many are made at a time, and on where the last chunk ends."""
        made = None if self.made is None else [self.made.n_samples, self.made.draws.step, len(self.made.draws)]
        return {
            "y": self.y, "sigma": self.sigma, "seed": self.seed, "image_keys": list(self.image_keys), "step": self.step,
            "image_shape": list(self.image_shape), "stop": stop, "made": made,
        }  # fmt: skip

    def pick(self, k: Tensor) -> Tensor:
        """f(y + A delta_k) for the draws ``k`` of shape (B, J), each image its own: (B, J, C, H, W)."""
        jobs = [(i, draw) for i, row in enumerate(k.tolist()) for draw in row]
        step = self.chunk_size or max(1, PIXELS_PER_CHUNK.get(self.y.device.type, 2**23) // self.image_shape.numel())
        found = []
        for first in range(0, len(jobs), step):
            chunk = jobs[first : first + step]
            noise = [smoothing_noise(self.image_shape, d, d + 1, self.seed, self.image_keys[i]) for i, d in chunk]
            found.append(self.reconstruct(self.y[[i for i, _ in chunk]], torch.cat(noise)))
        return torch.cat(found).unflatten(0, (len(self), k.shape[1]))

    def reconstruct(self, y: Tensor, noise: Tensor) -> Tensor:
        """f(y + sigma A n) for unit noise n, shape (B', C, H, W)."""
        x_hat = self.estimator(y + self.sigma * self.operator.A(noise.to(y)), self.operator)
        if not bool(x_hat.isfinite().all()):
            raise FloatingPointError("a smoothed reconstruction is not finite; nothing can be certified of it")
        return x_hat

    def pick_in_chunks(self, k: Tensor, stop: int) -> Tensor:
        """As :meth:`pick`, but to the last bit what :meth:`chunks` (0, stop) gives: made in the same chunks, if needed."""
        stop = stop if self.made is None else max(stop, self.made.n_samples)
        found = self.y.new_empty(*k.shape, *self.image_shape)
        for first in sorted({d // self.step * self.step for d in k.flatten().tolist()}):
            chunk = self.chunk(first, min(first + self.step, stop))
            for i, row in enumerate(k.tolist()):
                for j, draw in enumerate(row):
                    if first <= draw < first + self.step:
                        found[i, j] = chunk[i, draw - first]
        return found

    def image(self, i: int) -> Draws:
        """The draws of image i alone, the same ones."""
        made = None if self.made is None else OfImage(self.made, i)
        return replace(self, y=self.y[i : i + 1], image_keys=[self.image_keys[i]], made=made)

    def fit(self, n_samples: int) -> bool:
        """Whether so many reconstructions of every image take no more than KEPT_BYTES."""
        return len(self) * n_samples * self.image_shape.numel() * self.y.element_size() <= KEPT_BYTES

    def room_for(self, n_samples: int) -> Tensor | None:
        """An empty tensor for so many reconstructions of every image, or None if they do not fit."""
        return self.y.new_empty(len(self), n_samples, *self.image_shape) if self.fit(n_samples) else None


class Made:
    """The reconstructions of the first draws, made when they are first asked for."""

    def __init__(self, draws: Draws, n_samples: int) -> None:
        self.draws, self.n_samples = draws, n_samples

    @cached_property
    def x_hat(self) -> Tensor:
        """Shape (B, n_samples, C, H, W)."""
        made = self.draws.y.new_empty(len(self.draws), self.n_samples, *self.draws.image_shape)
        for k, x_hat in self.draws.chunks(0, self.n_samples):
            made[:, k] = x_hat
        return made


class OfImage(Made):
    """Those of one image of the batch."""

    def __init__(self, of: Made, i: int) -> None:
        super().__init__(of.draws, of.n_samples)
        self.of, self.i = of, i

    @property
    def x_hat(self) -> Tensor:
        return self.of.x_hat[self.i : self.i + 1]
