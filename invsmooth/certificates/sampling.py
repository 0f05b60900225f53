"""Draw smoothed reconstructions f(y + A delta_k), in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
        made: reconstructions of the first draws, shape (B, n, C, H, W), which are not made again; None for none.
    """

    estimator: Estimator
    operator: Operator
    y: Tensor
    sigma: float
    image_shape: torch.Size
    seed: int
    image_keys: ImageKeys
    chunk_size: int | None = None
    made: Tensor | None = None

    def __len__(self) -> int:
        """B, the number of images."""
        return len(self.y)

    def chunks(self, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (k, f(y + A delta_k)): a slice of start … stop - 1 counted from ``start``, and (B, len(k), C, H, W).

        Raises: FloatingPointError: a reconstruction is not finite.
        """
        step = self.chunk_size
        if step is None:
            pixels = len(self) * self.image_shape.numel()
            step = max(1, PIXELS_PER_CHUNK.get(self.y.device.type, 2**23) // pixels)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            if self.made is not None and last <= self.made.shape[1]:
                yield slice(first - start, last - start), self.made[:, first:last]
                continue
            noise = torch.empty(len(self), last - first, *self.image_shape)
            # One image after the other, because the noise is made in whole blocks, which can be more than the chunk.
            for own, key in zip(noise, self.image_keys, strict=True):
                own.copy_(smoothing_noise(self.image_shape, first, last, self.seed, key))
            repeated = self.y.repeat_interleave(last - first, dim=0)
            yield (
                slice(first - start, last - start),
                self.reconstruct(repeated, noise.flatten(0, 1)).unflatten(0, (len(self), last - first)),
            )

    def making(self, n_samples: int) -> Draws:
        """The same draws, the first ``n_samples`` of them made at once for several uses, if that is no more than
        KEPT_BYTES."""
        made = self.room_for(n_samples)
        if made is None:
            return self
        for k, x_hat in self.chunks(0, n_samples):
            made[:, k] = x_hat
        return replace(self, made=made)

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

    def image(self, i: int) -> Draws:
        """The draws of image i alone, the same ones."""
        made = None if self.made is None else self.made[i : i + 1]
        return replace(self, y=self.y[i : i + 1], image_keys=[self.image_keys[i]], made=made)

    def room_for(self, n_samples: int) -> Tensor | None:
        """An empty tensor for so many reconstructions of every image, or None if that is more than KEPT_BYTES."""
        shape = (len(self), n_samples, *self.image_shape)
        if torch.Size(shape).numel() * self.y.element_size() > KEPT_BYTES:
            return None
        return self.y.new_empty(shape)
