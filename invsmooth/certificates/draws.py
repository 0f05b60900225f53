"""Draw smoothed reconstructions f(y + A delta_k), in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from invsmooth.cache import Like, Remember, not_kept
from invsmooth.certificates.draw_buffer import DrawBuffer, fits_memory
from invsmooth.core.errors import NotFiniteError
from invsmooth.core.rng import ImageKeys, smoothing_noise
from invsmooth.estimators.frozen import Estimator
from invsmooth.metrics import coarse_mse
from invsmooth.operators.base import Operator

T = TypeVar("T")

PIXELS_PER_CHUNK = {"cpu": 2**18, "cuda": 2**23}  # Of network input: 4 images of 256 x 256 fill a CPU, not a GPU


@dataclass(frozen=True)
class Draws:
    """The smoothed reconstructions f(y + A delta_k), k = 0, 1, 2, …, delta_k ~ N(0, sigma² I), of a
    batch of images. Draw k of an image depends on (seed, its key, k) alone and not on the chunks.
    Different k are independent, delta_k/sigma is common to all sigma, and nothing is clamped. For
    an A with orthonormal rows this is the same as adding N(0, sigma²) to y.

    Attributes:
        y: measurements, shape (B, …).
        image_shape: (C, H, W).
        chunk_size: draws of every image at a time; None chooses it by the image size.
        shared: keeps the first draws, which several certifiers use; None for none.
        remember: caches what follows from the draws (errors, moments), far less than the draws.
        references: images (B, C, H, W), by name, that :meth:`errors` compares every draw with.
        known: what :meth:`once` computed."""

    estimator: Estimator
    operator: Operator
    y: Tensor
    sigma: float
    image_shape: torch.Size
    seed: int
    image_keys: ImageKeys
    chunk_size: int | None = None
    shared: SharedDraws | None = None
    remember: Remember = not_kept
    references: Mapping[str, Tensor] = field(default_factory=dict)
    known: dict[Hashable, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.y)

    def chunks(self, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
        """Yield (k, f(y + A delta_k)): a slice counted from ``start``, and (B, len(k), C, H, W).
        Raises: NotFiniteError: a reconstruction is not finite."""
        first = start
        while first < stop:
            last, source = min(first + self.step, stop), self.chunk
            if self.shared is not None and first < self.shared.n_samples:
                last, source = min(last, self.shared.n_samples), self.shared.read
            yield slice(first - start, last - start), source(first, last)
            first = last

    @property
    def step(self) -> int:
        """Draws of every image at a time."""
        return self.at_a_time(len(self)) if self.chunk_size is None else self.chunk_size

    def at_a_time(self, n_images: int) -> int:
        return max(1, PIXELS_PER_CHUNK.get(self.y.device.type, 2**23) // (n_images * self.image_shape.numel()))

    def chunk(self, first: int, last: int) -> Tensor:
        """The draws first … last - 1, in one batch: (B, last - first, C, H, W)."""
        noise = torch.empty(len(self), last - first, *self.image_shape, device=self.y.device)
        # One image after the other, because noise comes in whole blocks, which can exceed the chunk.
        for own, key in zip(noise, self.image_keys, strict=True):
            own.copy_(self.noise(first, last, key))
        repeated = self.y.repeat_interleave(last - first, dim=0)
        return self.reconstruct(repeated, noise.flatten(0, 1)).unflatten(0, (len(self), last - first))

    def noise(self, first: int, last: int, key: str | int) -> Tensor:
        """Unit noise of the draws first … last - 1 of an image, made where the network computes."""
        return smoothing_noise(self.image_shape, first, last, self.seed, key, device=self.y.device)

    def sharing(self, *stops: int) -> Draws:
        """The same draws; those up to the last of ``stops`` are made when needed, and kept."""
        buffer = DrawBuffer(len(self), stops[-1], self.image_shape, self.y)
        return replace(self, shared=SharedDraws(self, stops, buffer, slice(0, len(self))))

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed once for all certifiers that ask for ``key``."""
        if key not in self.known:
            self.known[key] = compute()
        found: T = self.known[key]
        return found

    def errors(self, n_drawn: int) -> Mapping[str, Tensor]:
        """The MSE of the first draws to each of ``references``, (B, n_drawn), from one pass."""

        def compute() -> Mapping[str, Tensor]:
            errors = {name: reference.new_empty(len(self), n_drawn) for name, reference in self.references.items()}
            rounding = getattr(self.estimator, "rounding", 0.0)
            for k, x_hat in self.chunks(0, n_drawn):
                for name, own in self.references.items():
                    found = coarse_mse(x_hat.flatten(0, 1), own.repeat_interleave(x_hat.shape[1], dim=0), rounding)
                    errors[name][:, k] = found.unflatten(0, x_hat.shape[:2])
            return errors

        expected = {name: Like((len(self), n_drawn)) for name in self.references}
        return self.once(
            ("errors", n_drawn), lambda: self.remember("errors", self.errors_content(n_drawn), compute, expected)
        )

    def errors_content(self, n_drawn: int) -> dict[str, Any]:
        return self.content(n_drawn) | {"references": self.references}

    def content(self, stop: int) -> dict[str, Any]:
        """What determines the draws 0 … stop - 1 beside estimator and operator, to the last bit:
        rounding depends on the size of the chunks and on where they end, and on the kind of device:
        a GPU makes noise that differs in the last bits. (So do two kinds of GPU in what the network
        answers, and they share results: these are equal to rounding, not to the last bit.)"""
        batch, ends = self, {stop}
        if self.shared is not None:
            batch, ends = self.shared.draws, {stop, *(s for s in self.shared.stops if s < stop)}
            if stop <= self.shared.n_samples:
                ends.add(self.shared.chunk_of(stop - 1)[1])
        return {
            "y": self.y, "sigma": self.sigma, "seed": self.seed, "image_keys": list(self.image_keys), "step": self.step,
            "image_shape": list(self.image_shape), "batch": [len(batch), batch.step], "stop": stop, "ends": sorted(ends),
            "device": self.y.device.type,
        }  # fmt: skip

    def pick(self, k: Tensor) -> Tensor:
        """f(y + A delta_k), shape (B, J, C, H, W), for the draws ``k`` of shape (B, J), each image
        its own. Of shared draws the same as :meth:`chunks` gives, to the last bit; else each is
        made alone."""
        if self.shared is not None:
            return self.pick_shared(k, self.shared)
        jobs = [(i, draw) for i, row in enumerate(k.tolist()) for draw in row]
        step, found = self.chunk_size or self.at_a_time(1), []
        for first in range(0, len(jobs), step):
            chunk = jobs[first : first + step]
            noise = [self.noise(d, d + 1, self.image_keys[i]) for i, d in chunk]
            found.append(self.reconstruct(self.y[[i for i, _ in chunk]], torch.cat(noise)))
        return torch.cat(found).unflatten(0, (len(self), k.shape[1]))

    def pick_shared(self, k: Tensor, shared: SharedDraws) -> Tensor:
        """:meth:`pick` of draws before the last stop. Only chunks that were not made yet (the
        results of their certifiers were cached) are made."""
        found = self.y.new_empty(*k.shape, *self.image_shape)
        for first, last in sorted({shared.chunk_of(d) for d in k.flatten().tolist()}):
            chunk = shared.read(first, last) if last <= shared.buffer.filled else self.chunk(first, last)
            for i, j in ((first <= k) & (k < last)).nonzero().tolist():
                found[i, j] = chunk[i, int(k[i, j]) - first]
        return found

    def reconstruct(self, y: Tensor, noise: Tensor) -> Tensor:
        """f(y + sigma A n) for unit noise n, shape (B', C, H, W)."""
        x_hat = self.estimator(y + self.sigma * self.operator.A(noise.to(y)), self.operator)
        if not bool(x_hat.isfinite().all()):
            raise NotFiniteError("a smoothed reconstruction is not finite; nothing can be certified of it")
        return x_hat

    def image(self, i: int) -> Draws:
        """The draws of image i alone, the same ones."""
        one, shared = slice(i, i + 1), self.shared
        if shared is not None:
            shared = replace(shared, images=slice(shared.images.start + i, shared.images.start + i + 1))
        references = {name: reference[one] for name, reference in self.references.items()}
        keys = [self.image_keys[i]]
        return replace(self, y=self.y[one], image_keys=keys, shared=shared, references=references, known={})

    def fit(self, n_samples: int) -> bool:
        """Whether the memory holds so many reconstructions of every image."""
        return fits_memory(len(self) * n_samples * self.image_shape.numel(), self.y)


@dataclass(frozen=True)
class SharedDraws:
    """The first draws of a batch, each made once, in the batch's chunks, when it is first needed;
    those of ``images`` are read. ``stops``: how many each certifier takes, ascending. No chunk goes
    beyond one: what a certifier gets does not depend on the others, to the last bit."""

    draws: Draws
    stops: tuple[int, ...]
    buffer: DrawBuffer
    images: slice

    @property
    def n_samples(self) -> int:
        return self.stops[-1]

    def read(self, first: int, last: int) -> Tensor:
        """The draws ``first`` … ``last - 1``, shape (B, last - first, C, H, W)."""
        self.buffer.reserve()
        while self.buffer.filled < last:
            self.buffer.append(self.draws.chunk(*self.chunk_of(self.buffer.filled)))
        return self.buffer.read(self.images, first, last)

    def chunk_of(self, draw: int) -> tuple[int, int]:
        """Where the chunk of a draw begins and ends."""
        begin = max((s for s in self.stops if s <= draw), default=0)
        first = begin + (draw - begin) // self.draws.step * self.draws.step
        return first, min(first + self.draws.step, next(s for s in self.stops if s > draw))
