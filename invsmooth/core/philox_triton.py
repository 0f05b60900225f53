"""The Triton kernel of :mod:`invsmooth.core.philox`. Importing this needs Triton."""

# mypy: disable-error-code="no-untyped-def"
# No annotations in the kernel: Triton reads them.

import torch
import triton
import triton.language as tl
from torch import Tensor

WIDTH = 256  # values of the counter for each program


@triton.jit
def kernel(keys, out, count, n_tiles, WIDTH: tl.constexpr):
    program = tl.program_id(0).to(tl.int64)
    stream, tile = program // n_tiles, program % n_tiles
    block = tile * WIDTH + tl.arange(0, WIDTH)
    counter = (block + 1).to(tl.uint64)  # NumPy counts up before each block
    zero = (block * 0).to(tl.uint64)
    k0 = tl.load(keys + 2 * stream).to(tl.uint64, bitcast=True)
    k1 = tl.load(keys + 2 * stream + 1).to(tl.uint64, bitcast=True)
    w0, w1, w2, w3 = tl.philox_impl(counter, zero, zero, zero, k0, k1, 10)
    at, start = 4 * block, out + stream * count
    tl.store(start + at, w0.to(tl.int64, bitcast=True), mask=at < count)
    tl.store(start + at + 1, w1.to(tl.int64, bitcast=True), mask=at + 1 < count)
    tl.store(start + at + 2, w2.to(tl.int64, bitcast=True), mask=at + 2 < count)
    tl.store(start + at + 3, w3.to(tl.int64, bitcast=True), mask=at + 3 < count)


def words(keys: Tensor, count: int) -> Tensor:
    """:func:`invsmooth.core.philox.random_words` on a GPU."""
    keys, out = keys.contiguous(), torch.empty(len(keys), count, dtype=torch.int64, device=keys.device)
    n_tiles = -(-count // (4 * WIDTH))
    with torch.cuda.device(keys.device):
        kernel[(len(keys) * n_tiles,)](keys, out, count, n_tiles, WIDTH=WIDTH)
    return out
