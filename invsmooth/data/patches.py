"""Random training patches, a whole batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from invsmooth.errors import DataError
from invsmooth.rng import DRAWS_PER_BLOCK, generator_for


class PatchBatches(Dataset[Tensor]):
    """Item k is the k-th batch of an endless sequence: patches at random places of random images, shape (B, 1, p, p).

    Patch i of the sequence depends on (seed, i) alone, and batch k holds the patches k B … (k + 1) B - 1: whoever asks for
    it and when, and however the same patches are split over processes. An image is drawn in proportion to its pixels.

    Args:
        images: grey images, each (1, H, W).
        patch_size: p, pixels.
        batch_size: B.
        augment: one of the eight flips and quarter turns at random for each patch.
        seed: of places and augmentations.
    Raises:
        DataError: an image is smaller than a patch.
    """

    def __init__(
        self, images: Sequence[Tensor], names: Sequence[str], patch_size: int, batch_size: int, augment: bool, seed: int
    ) -> None:
        too_small = [n for n, i in zip(names, images, strict=True) if min(i.shape[-2:]) < patch_size]
        if too_small:
            raise DataError(f"smaller than a patch of {patch_size}×{patch_size} pixels: {', '.join(too_small)}")
        self.images, self.patch_size, self.batch_size = list(images), patch_size, batch_size
        self.augment, self.seed = augment, seed
        self.weights = torch.tensor([float(i.numel()) for i in images])

    def __getitem__(self, k: int) -> Tensor:
        p, start = self.patch_size, k * self.batch_size
        stop = start + self.batch_size
        patches = []
        for i, (u, v), code in self.draws(start, stop):
            image = self.images[i]
            top, left = int(u * (image.shape[-2] - p + 1)), int(v * (image.shape[-1] - p + 1))
            patch = image[:, top : top + p, left : left + p]
            patches.append(dihedral(patch, code) if self.augment else patch)
        return torch.stack(patches)

    def draws(self, start: int, stop: int) -> list[tuple[int, tuple[float, float], int]]:
        """Image, place (as shares of the height and width) and symmetry of the patches start … stop - 1."""
        found: list[tuple[int, tuple[float, float], int]] = []
        first = start // DRAWS_PER_BLOCK
        for block in range(first, -(-stop // DRAWS_PER_BLOCK)):
            generator = generator_for(self.seed, "patches", block)
            chosen = torch.multinomial(self.weights, DRAWS_PER_BLOCK, replacement=True, generator=generator)
            place = torch.rand(DRAWS_PER_BLOCK, 2, generator=generator)
            turn = torch.randint(8, (DRAWS_PER_BLOCK,), generator=generator)
            found += zip(chosen.tolist(), place.tolist(), turn.tolist(), strict=True)
        return found[start - first * DRAWS_PER_BLOCK : stop - first * DRAWS_PER_BLOCK]


def dihedral(patch: Tensor, code: int) -> Tensor:
    """The ``code``-th (0 … 7) of the eight flips and quarter turns of a square patch (…, p, p)."""
    patch = torch.rot90(patch, code % 4, (-2, -1))
    return patch.flip(-1) if code >= 4 else patch


class BatchNumbers(Sampler[int]):
    """The numbers of the next epoch's batches: ``n_batches`` of them from ``first()`` on, every ``stride``-th.

    ``first`` is asked anew at each epoch, so a resumed run goes on with the batch where it stopped. In distributed
    training the stride is the number of processes and ``offset`` the process's rank: no two get the same batch.
    """

    def __init__(self, n_batches: int, first: Callable[[], int], stride: int = 1, offset: int = 0) -> None:
        self.n_batches, self.first, self.stride, self.offset = n_batches, first, stride, offset

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[int]:
        first = self.first()
        yield from ((first + i) * self.stride + self.offset for i in range(self.n_batches))
