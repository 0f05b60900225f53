"""Random training patches, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from invsmooth.core.errors import DataError
from invsmooth.core.rng import DRAWS_PER_BLOCK, generator_for
from invsmooth.data.arrays import ImageArrays
from invsmooth.data.decode import unit_scale


class PatchBatches(Dataset[Tensor]):
    """Item k is the k-th batch of an endless sequence: patches at random places of random images, shape (B, C, p, p).

    Patch i of the sequence depends on (seed, i) alone, and batch k holds the patches k B … (k + 1) B - 1, in any process.
    An image is drawn in proportion to its pixels. Only the pixels of the patches are read.
    ``augment``: each patch gets one of the eight flips and quarter turns at random.
    Raises: DataError: an image is smaller than a patch."""

    def __init__(self, images: ImageArrays, patch_size: int, batch_size: int, augment: bool, seed: int) -> None:
        too_small = [name for name, shape in zip(images.names, images.shapes, strict=True) if min(shape) < patch_size]
        if too_small:
            raise DataError(f"smaller than a patch of {patch_size}×{patch_size} pixels: {', '.join(too_small)}")
        self.images, self.patch_size, self.batch_size = images, patch_size, batch_size
        self.augment, self.seed = augment, seed
        self.weights = images.shapes.prod(1) / images.shapes.prod(1).sum()
        # Row and column of each pixel of the patch, for each symmetry.
        places = torch.arange(patch_size**2).view(1, patch_size, patch_size)
        turned = torch.stack([dihedral(places, code)[0] for code in range(8 if augment else 1)]).numpy()
        self.rows, self.columns = turned // patch_size, turned % patch_size

    def __getitem__(self, k: int) -> Tensor:
        start = k * self.batch_size
        chosen, place, code = self.draws(start, start + self.batch_size)
        room = self.images.shapes[chosen] - self.patch_size + 1
        top, left = (place * room).astype(np.int64).T[..., None, None]
        code = code if self.augment else np.zeros_like(code)
        width = self.images.shapes[chosen, 1][:, None, None]
        at = self.images.offsets[chosen][:, None, None] + (top + self.rows[code]) * width + left + self.columns[code]
        # One channel of an image lies behind the other.
        channel = (
            np.arange(self.images.channels)[:, None, None] * self.images.shapes[chosen].prod(1)[:, None, None, None]
        )
        return torch.from_numpy(unit_scale(self.images.pixels[at[:, None] + channel]))

    def draws(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image (B,), place in the free height and width as fractions (B, 2), symmetry (B,) of patches start … stop - 1."""
        first, last = start // DRAWS_PER_BLOCK, -(-stop // DRAWS_PER_BLOCK)
        drawn = map(self.block, range(first, last))
        wanted = slice(start - first * DRAWS_PER_BLOCK, stop - first * DRAWS_PER_BLOCK)
        chosen, place, code = (np.concatenate(parts)[wanted] for parts in zip(*drawn, strict=True))
        return chosen, place, code

    def block(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        generator = generator_for(self.seed, "patches", number)
        chosen = generator.choice(len(self.weights), DRAWS_PER_BLOCK, p=self.weights)
        place = generator.random((DRAWS_PER_BLOCK, 2))
        return chosen, place, generator.integers(8, size=DRAWS_PER_BLOCK)


def dihedral(patch: Tensor, code: int) -> Tensor:
    """The ``code``-th (0 … 7) of the eight flips and quarter turns of a square patch (…, p, p)."""
    patch = torch.rot90(patch, code % 4, (-2, -1))
    return patch.flip(-1) if code >= 4 else patch


class BatchNumbers(Sampler[int]):
    """The numbers of the next epoch's batches: ``n_batches`` of them from ``first()`` on, every ``stride``-th.
    ``first`` is called at each epoch, so that a resumed run goes on where it stopped. In distributed training the stride is
    the number of processes and ``offset`` the rank of the process: no two get the same batch."""

    def __init__(self, n_batches: int, first: Callable[[], int], stride: int = 1, offset: int = 0) -> None:
        self.n_batches, self.first, self.stride, self.offset = n_batches, first, stride, offset

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[int]:
        first = self.first()
        yield from ((first + i) * self.stride + self.offset for i in range(self.n_batches))
