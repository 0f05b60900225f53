"""NumPy's Philox generator (4x64 bits, 10 rounds; Salmon et al. 2011) in operations of torch, on any device.

A word of a stream depends on its key and its place alone, so all words of all streams are made at once. The words are those
of ``np.random.Philox(key=key).random_raw(count)``, bit for bit. On a GPU a Triton kernel makes them, where Triton is
installed and works."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

log = logging.getLogger(__name__)

ROUNDS = 10
WORDS = 4  # words of 64 bits for each value of the counter
LOW = 0xFFFFFFFF


def signed(value: int) -> int:
    """The number of the same 64 bits that int64 holds. (Torch has few operations on uint64.)"""
    return (value & (2**64 - 1)) - ((value & 2**63) << 1)


MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
INCREMENTS = signed(0x9E3779B97F4A7C15), signed(0xBB67AE8584CAA73B)  # of the key, from round to round


def key_tensor(keys: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Keys of 128 bits, shape (N, 2), as NumPy takes them apart: the low word first."""
    words = torch.tensor([[signed(key), signed(key >> 64)] for key in keys], dtype=torch.int64)
    return words.to(device, non_blocking=True)


def random_words(keys: Tensor, count: int) -> Tensor:
    """The first ``count`` words of the streams of ``keys`` (N, 2), shape (N, count), int64."""
    make = triton_words() if keys.is_cuda else None
    return (make or tensor_words)(keys, count)


def tensor_words(keys: Tensor, count: int) -> Tensor:
    """:func:`random_words` by operations on whole tensors. Sums and products wrap around, as they should."""
    # NumPy counts up before each block of words: the first has the counter 1.
    counter = torch.arange(1, -(-count // WORDS) + 1, device=keys.device).expand(len(keys), -1)
    c = counter, torch.zeros_like(counter), torch.zeros_like(counter), torch.zeros_like(counter)
    k0, k1 = keys[:, :1], keys[:, 1:]
    for _ in range(ROUNDS):
        c = (
            high_product(c[2], MULTIPLIERS[1]) ^ c[1] ^ k0, c[2] * signed(MULTIPLIERS[1]),
            high_product(c[0], MULTIPLIERS[0]) ^ c[3] ^ k1, c[0] * signed(MULTIPLIERS[0]),
        )  # fmt: skip
        k0, k1 = k0 + INCREMENTS[0], k1 + INCREMENTS[1]
    return torch.stack(c, -1).flatten(1)[:, :count]


def high_product(a: Tensor, factor: int) -> Tensor:
    """The high 64 of the 128 bits of a · factor, both unsigned, from products of 32 × 32 bits."""
    low, high = a & LOW, upper(a)
    f_low, f_high = factor & LOW, factor >> 32
    # Each fits into 64 bits, although int64 may show it as negative.
    outer, inner = high * f_low, low * f_high
    carry = upper(upper(low * f_low) + (outer & LOW) + (inner & LOW))
    return high * f_high + upper(outer) + upper(inner) + carry


def upper(a: Tensor) -> Tensor:
    """The upper 32 bits. (A shift of int64 alone copies the sign.)"""
    return (a >> 32) & LOW


@functools.cache
def triton_words() -> Callable[[Tensor, int], Tensor] | None:
    """The kernel, if it can be built here and gives the right words; else None."""
    try:
        from invsmooth.core.philox_triton import words

        keys = key_tensor([0, 2**128 - 1, 0x0123456789ABCDEF << 37], "cuda")
        found, right = words(keys, 1025), tensor_words(keys, 1025)
        if not torch.equal(found, right):
            raise ValueError("it gives other numbers")
    except Exception as error:  # no Triton, no compiler, an unknown GPU: each raises a different one
        log.info("the Triton kernel for random numbers is not used: %s: %s", type(error).__name__, error)
        return None
    return words
