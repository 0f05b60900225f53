"""Counter-based random numbers: every random tensor is a function of (seed, purpose, index).

So a run can be resumed, split into chunks or spread over devices and draws the same numbers. Each
(seed, keys) has its own stream: a Philox generator (Salmon et al. 2011) with their hash as its
128-bit key. Streams of different keys never overlap. (Torch takes only 32 bits of a seed.)"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from invsmooth.core.philox import key_tensor, random_words

ImageKeys = Sequence[str | int]
"""A name for each image of a batch. It seeds what is drawn for the image, whatever its batch."""
DRAWS_PER_BLOCK = 8  # draws that share one generator; any range costs at most two extra blocks
# That are made of several streams at once: a GPU's by memory, a CPU's by its cache.
NUMBERS_AT_ONCE = {"cuda": 2**24, "cpu": 2**16}


def stream_key(seed: int, *keys: str | int) -> int:
    """A 128-bit hash of ``seed`` (any whole number) and ``keys`` (the purpose). Is a seed, too."""
    # int(): the repr of NumPy's integers differs.
    named = (int(seed), *(k if isinstance(k, str) else int(k) for k in keys))
    return int.from_bytes(hashlib.blake2b(repr(named).encode(), digest_size=16).digest(), "big")


def keys_of(count: int, image_keys: ImageKeys | None) -> ImageKeys:
    """The keys of ``count`` images, or their positions in the batch. Raises: ValueError: not as many keys as images."""
    if image_keys is None:
        return range(count)
    if len(image_keys) != count:
        raise ValueError(f"{len(image_keys)} image_keys for {count} images")
    return image_keys


def generator_for(seed: int, *keys: str | int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=stream_key(seed, *keys)))


def standard_normal(shape: Sequence[int], seed: int, *keys: str | int, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal tensor of ``shape`` (float32) for ``(seed, *keys)``. A GPU makes its own
    numbers: from the same bits, with another logarithm, sine and cosine, at most 4e-6 away.
    By Box and Muller (1958), in a third of NumPy's time. The largest possible value is 6.7."""
    return normal_streams([stream_key(seed, *keys)], math.prod(shape), device)[0].view(tuple(shape))


def words_for(count: int) -> int:
    """Words of 64 bits from which so many numbers are made."""
    return max(1, (count + 1) // 2)


def box_muller(bits: Tensor) -> Tensor:
    """Standard normal numbers from random int32 numbers, an even number of them along the last axis."""
    half = bits.shape[-1] // 2
    first, second = bits.split(half, dim=-1)
    # 31 bits: small uniform numbers keep all their digits. None is 0.
    radius = (first & 0x7FFFFFFF).to(torch.float32).mul_(2.0**-31).add_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = second.to(torch.float32).mul_(math.pi * 2.0**-31)
    numbers = torch.empty(bits.shape, dtype=torch.float32, device=bits.device)
    torch.mul(radius, angle.sin(), out=numbers[..., half:])
    torch.mul(radius, angle.cos_(), out=numbers[..., :half])
    return numbers


def random_bits(keys: Sequence[int], words: int, device: torch.device) -> Tensor:
    """So many words of the stream of each key, as int32, shape (N, 2 words); the same from a GPU and from NumPy."""
    if device.type == "cuda":
        return random_words(key_tensor(keys, device), words).view(torch.int32)
    bits = np.empty((len(keys), words), dtype=np.uint64)
    for stream, key in zip(bits, keys, strict=True):
        stream[:] = np.random.Philox(key=key).random_raw(words)
    return torch.from_numpy(bits.view(np.int32))


def normal_streams(keys: Sequence[int], count: int, device: torch.device | str) -> Tensor:
    """``count`` standard normal numbers of the stream of each key, shape (N, count), on ``device``. What is neither a
    CPU nor a CUDA GPU gets those of the CPU."""
    maker = torch.device(device) if torch.device(device).type == "cuda" else torch.device("cpu")
    words, numbers = words_for(count), torch.empty(len(keys), count, device=maker)
    step = max(1, NUMBERS_AT_ONCE[maker.type] // (2 * words))
    for k in range(0, len(keys), step):
        numbers[k : k + step] = box_muller(random_bits(keys[k : k + step], words, maker))[:, :count]
    return numbers.to(device)


def smoothing_noise(
    shape: Sequence[int], start: int, stop: int, seed: int, *keys: str | int, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal draws ``start … stop - 1`` of an endless sequence, shape ``(stop - start,
    *shape)``. Draw k is the same in any range, and for all sigma (common random numbers). On a GPU
    it is made there, see :func:`standard_normal`."""
    first, last = start // DRAWS_PER_BLOCK, -(-stop // DRAWS_PER_BLOCK)
    own = slice(start - first * DRAWS_PER_BLOCK, stop - first * DRAWS_PER_BLOCK)
    streams = [stream_key(seed, "delta", *keys, j) for j in range(first, last)]
    numbers = normal_streams(streams, DRAWS_PER_BLOCK * math.prod(shape), device)
    return numbers.view(len(streams) * DRAWS_PER_BLOCK, *shape)[own]
