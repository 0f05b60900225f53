"""Counter-based randomness: every random tensor is a function of (seed, what it is for, its index).

Nothing depends on call order, chunk size, device or number of workers, so a run can be resumed, chunked or spread
over devices and still draw the same numbers.

Each (seed, keys) has a stream of its own: a Philox generator (Salmon et al. 2011, NumPy's) whose 128-bit key is a hash of
both. Streams of different Philox keys never meet. Torch's CPU generator takes only 32 bits of a seed, so that some
streams would be the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

DRAWS_PER_BLOCK = 8
"""Draws that share one generator: few generators, yet any range of draws costs at most two extra blocks."""


def stream_key(seed: int, *keys: str | int) -> int:
    """128 bits that depend on nothing but ``seed`` and ``keys``, and on every bit of these. Also a seed of further streams.

    Args:
        seed: any whole number.
        keys: what the numbers are for, e.g. ``"b", image_index``.
    """
    # int(): NumPy's integers are written differently, but are the same seeds.
    named = (int(seed), *(k if isinstance(k, str) else int(k) for k in keys))
    return int.from_bytes(hashlib.blake2b(repr(named).encode(), digest_size=16).digest(), "big")


def generator_for(seed: int, *keys: str | int) -> np.random.Generator:
    """A generator whose numbers depend on nothing but ``seed`` and ``keys``."""
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *keys)))


def standard_normal(shape: Sequence[int], seed: int, *keys: str | int) -> Tensor:
    """Standard normal tensor of ``shape`` (float32, CPU) for ``(seed, *keys)``.

    By Box and Muller (1958), which costs a third of NumPy's own normal numbers. The largest possible is 6.7.
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    bits = np.random.Philox(key=stream_key(seed, *keys)).random_raw(max(1, half)).view(np.int32)
    first, second = torch.from_numpy(bits).split(max(1, half))
    # 31 bits, because small uniform numbers keep all their digits then; none is 0.
    radius = (first & 0x7FFFFFFF).to(torch.float32).mul_(2.0**-31).add_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = second.to(torch.float32).mul_(math.pi * 2.0**-31)
    numbers = torch.empty(2 * len(radius))
    torch.mul(radius, angle.sin(), out=numbers[len(radius) :])
    torch.mul(radius, angle.cos_(), out=numbers[: len(radius)])
    return numbers[:count].view(tuple(shape))


def smoothing_noise(shape: Sequence[int], start: int, stop: int, seed: int, *keys: str | int) -> Tensor:
    """Standard normal draws ``start … stop - 1`` of an endless sequence, shape ``(stop - start, *shape)``.

    Draw k is the same tensor whatever range it is asked for in. It is made on the CPU, so that every device sees the
    same noise; multiply by sigma for the smoothing noise (common random numbers over sigma).
    """
    first, last = start // DRAWS_PER_BLOCK, -(-stop // DRAWS_PER_BLOCK)
    blocks = [standard_normal((DRAWS_PER_BLOCK, *shape), seed, "delta", *keys, j) for j in range(first, last)]
    return torch.cat(blocks)[start - first * DRAWS_PER_BLOCK : stop - first * DRAWS_PER_BLOCK]
