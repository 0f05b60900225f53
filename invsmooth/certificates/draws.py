"""Draw smoothed reconstructions f(y + A delta_k), in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Remember, not_kept
from invsmooth.certificates.draw_buffer import DrawBuffer, fits_memory
from invsmooth.core.errors import NotFiniteError
from invsmooth.core.rng import smoothing_noise
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator

PIXELS_PER_CHUNK = {"cpu": 2**19, "cuda": 2**23}
"""Network input pixels at a time where no chunk size is given: 8 images of 256 x 256 fill the cores of a CPU, and more
only costs cache; a GPU takes many."""

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
    made: SharedDraws | None = None
    remember: Remember = not_kept

    def __len__(self) -> int:
        """B, the number of images."""
        return len(self.y)

    def chunks(self, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (k, f(y + A delta_k)): a slice of start … stop - 1 counted from ``start``, and (B, len(k), C, H, W).

        Raises: NotFiniteError: a reconstruction is not finite.
        """
        first = start
        while first < stop:
            last = min(first + self.step, stop)
            if self.made is not None and first < self.made.n_samples:
                last = min(last, self.made.n_samples)
                yield slice(first - start, last - start), self.made.read(first, last)
            else:
                yield slice(first - start, last - start), self.chunk(first, last)
            first = last

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

    def making(self, *stops: int) -> Draws:
        """The same draws, as many as the last of ``stops`` of them made once and kept, when they are first needed."""
        room = DrawBuffer(len(self), stops[-1], self.image_shape, self.y)
        return replace(self, made=SharedDraws(self, stops, room, slice(0, len(self))))

    def content(self, stop: int) -> dict[str, Any]:
        """What determines the draws 0 … stop - 1 beside estimator and operator, to the last bit: rounding depends on how
        many are made at a time, and on where the chunks end."""
        batch, ends = self, {stop}
        if self.made is not None:
            batch, ends = self.made.draws, {stop, *(s for s in self.made.stops if s < stop)}
            if stop <= self.made.n_samples:
                ends.add(self.made.chunk_of(stop - 1)[1])
        return {
            "y": self.y, "sigma": self.sigma, "seed": self.seed, "image_keys": list(self.image_keys), "step": self.step,
            "image_shape": list(self.image_shape), "batch": [len(batch), batch.step], "stop": stop, "ends": sorted(ends),
        }  # fmt: skip

    def pick(self, k: Tensor) -> Tensor:
        """f(y + A delta_k) for the draws ``k`` of shape (B, J), each image its own: (B, J, C, H, W).

        To the last bit what :meth:`chunks` gives where they are made once; else each is made alone.
        """
        if self.made is not None:
            return self.pick_made(k, self.made)
        jobs = [(i, draw) for i, row in enumerate(k.tolist()) for draw in row]
        step = self.chunk_size or max(1, PIXELS_PER_CHUNK.get(self.y.device.type, 2**23) // self.image_shape.numel())
        found = []
        for first in range(0, len(jobs), step):
            chunk = jobs[first : first + step]
            noise = [smoothing_noise(self.image_shape, d, d + 1, self.seed, self.image_keys[i]) for i, d in chunk]
            found.append(self.reconstruct(self.y[[i for i, _ in chunk]], torch.cat(noise)))
        return torch.cat(found).unflatten(0, (len(self), k.shape[1]))

    def pick_made(self, k: Tensor, made: SharedDraws) -> Tensor:
        """As :meth:`pick`, of draws before the last stop. What was not made yet (its uses were recalled) is made in its
        chunk, and no more than that."""
        found = self.y.new_empty(*k.shape, *self.image_shape)
        for first, last in sorted({made.chunk_of(d) for d in k.flatten().tolist()}):
            chunk = made.read(first, last) if last <= made.kept.filled else self.chunk(first, last)
            for i, row in enumerate(k.tolist()):
                for j, draw in enumerate(row):
                    if first <= draw < last:
                        found[i, j] = chunk[i, draw - first]
        return found

    def reconstruct(self, y: Tensor, noise: Tensor) -> Tensor:
        """f(y + sigma A n) for unit noise n, shape (B', C, H, W)."""
        x_hat = self.estimator(y + self.sigma * self.operator.A(noise.to(y)), self.operator)
        if not bool(x_hat.isfinite().all()):
            raise NotFiniteError("a smoothed reconstruction is not finite; nothing can be certified of it")
        return x_hat

    def image(self, i: int) -> Draws:
        """The draws of image i alone, the same ones."""
        made = None if self.made is None else self.made.image(i)
        return replace(self, y=self.y[i : i + 1], image_keys=[self.image_keys[i]], made=made)

    def fit(self, n_samples: int) -> bool:
        """Whether so many reconstructions of every image are kept in memory."""
        return fits_memory(len(self) * n_samples * self.image_shape.numel(), self.y)


@dataclass(frozen=True)
class SharedDraws:
    """The first draws of a batch, each made once, in the batch's chunks, when it is first asked for.

    Attributes:
        draws: of the batch.
        stops: how many each use takes, ascending. No chunk goes beyond one, so that what a use is given does not depend,
            to the last bit, on how many the others take.
        images: of the batch, whose draws are read.
    """

    draws: Draws
    stops: tuple[int, ...]
    kept: DrawBuffer
    images: slice

    def read(self, first: int, last: int) -> Tensor:
        """The draws ``first`` … ``last - 1``, shape (B, last - first, C, H, W)."""
        self.kept.reserve()
        while self.kept.filled < last:
            self.kept.append(self.draws.chunk(*self.chunk_of(self.kept.filled)))
        return self.kept.read(self.images, first, last)

    @property
    def n_samples(self) -> int:
        """How many there are."""
        return self.stops[-1]

    def chunk_of(self, draw: int) -> tuple[int, int]:
        """Where the chunk of a draw begins and ends."""
        begin = max((s for s in self.stops if s <= draw), default=0)
        first = begin + (draw - begin) // self.draws.step * self.draws.step
        return first, min(first + self.draws.step, next(s for s in self.stops if s > draw))

    def image(self, i: int) -> SharedDraws:
        """Those of image i alone."""
        return replace(self, images=slice(self.images.start + i, self.images.start + i + 1))
