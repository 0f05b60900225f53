"""Counter-based randomness: every random tensor is a function of (seed, what it is for, its index).

Nothing depends on call order, chunk size, device or number of workers, so a run can be resumed, chunked or spread
over devices and still draw the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

DRAWS_PER_BLOCK = 8
"""Draws that share one generator: few generators, yet any range of draws costs at most two extra blocks."""


def generator_for(seed: int, *keys: str | int) -> torch.Generator:
    """A CPU generator that depends on nothing but ``seed`` and ``keys``.

    Args:
        seed: the run's seed.
        keys: what the numbers are for, e.g. ``"b", image_index``.
    """
    digest = hashlib.blake2b(repr((seed, *keys)).encode(), digest_size=8).digest()
    # The top bit is dropped because torch seeds are signed 64-bit integers.
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def standard_normal(shape: Sequence[int], seed: int, *keys: str | int) -> Tensor:
    """Standard normal tensor of ``shape`` (float32, CPU) for ``(seed, *keys)``."""
    return torch.randn(tuple(shape), generator=generator_for(seed, *keys))


def smoothing_noise(shape: Sequence[int], start: int, stop: int, seed: int, *keys: str | int) -> Tensor:
    """Standard normal draws ``start … stop - 1`` of an endless sequence, shape ``(stop - start, *shape)``.

    Draw k is the same tensor whatever range it is asked for in. It is made on the CPU, so that every device sees the
    same noise; multiply by sigma for the smoothing noise (common random numbers over sigma).
    """
    first, last = start // DRAWS_PER_BLOCK, -(-stop // DRAWS_PER_BLOCK)
    blocks = [standard_normal((DRAWS_PER_BLOCK, *shape), seed, "delta", *keys, j) for j in range(first, last)]
    return torch.cat(blocks)[start - first * DRAWS_PER_BLOCK : stop - first * DRAWS_PER_BLOCK]
