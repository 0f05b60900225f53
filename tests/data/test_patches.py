from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from invsmooth.core.errors import DataError
from invsmooth.data import arrays, image_files, in_memory, load
from invsmooth.data.patches import BatchNumbers, PatchBatches, dihedral
from tests.data.pictures import noise, save

IMAGES = in_memory({"a": noise(0, 50, 40), "b": noise(1, 41, 60)})


def test_patches_depend_on_seed_and_number_alone() -> None:
    first, again, other = (PatchBatches(IMAGES, 33, 8, True, seed) for seed in (0, 0, 1))
    assert torch.equal(first[5], again[5])
    assert not torch.equal(first[5], first[6])
    assert not torch.equal(first[5], other[5])
    assert first[5].shape == (8, 1, 33, 33)


def test_two_processes_with_half_the_batch_see_the_same_patches() -> None:
    whole, half = (PatchBatches(IMAGES, 20, size, True, 0) for size in (12, 6))
    for k in range(3):
        assert torch.equal(whole[k], torch.cat([half[2 * k], half[2 * k + 1]]))


@pytest.mark.parametrize("augment", [False, True])
def test_every_patch_is_cut_where_it_was_drawn(augment: bool) -> None:
    """Against slices of the images, one by one."""
    batches, p = PatchBatches(IMAGES, 7, 64, augment, 0), 7
    chosen, place, code = batches.draws(64, 128)
    assert set(chosen) == {0, 1}
    assert set(code) == set(range(8))
    for patch, i, (u, v), turn in zip(batches[1], chosen, place, code, strict=True):
        image = IMAGES.image(i)
        top, left = int(u * (image.shape[1] - p + 1)), int(v * (image.shape[2] - p + 1))
        expected = image[:, top : top + p, left : left + p]
        assert torch.equal(patch, dihedral(expected, int(turn)) if augment else expected)


def test_patches_lie_in_the_images_and_reach_their_borders() -> None:
    """Height and width are not swapped (ERRATA 18): patches of a narrow image cover all of it and nothing else."""
    rows = np.arange(1, 61, dtype=np.uint8)[:, None].repeat(12, 1)
    batches = PatchBatches(in_memory({"a": rows}), 12, 64, augment=False, seed=0)
    seen = torch.cat([batches[k] for k in range(8)])
    assert set((seen * 255).round().int().unique().tolist()) == set(range(1, 61))


def test_images_are_drawn_in_proportion_to_their_pixels() -> None:
    images = in_memory({"small": np.zeros((20, 20), np.uint8), "large": np.full((60, 80), 255, np.uint8)})
    drawn = torch.cat([PatchBatches(images, 8, 500, True, 0)[k][:, 0, 0, 0] for k in range(8)])
    share = 400 / 5200
    assert float((drawn == 0).float().mean()) == pytest.approx(share, abs=4 * (share / 4000) ** 0.5)


def test_patches_of_a_mapped_file_are_those_of_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(4):
        save(tmp_path / "images" / f"{k}.png", noise(k, 30, 25))
    results = []
    for limit in (0, 1 << 40):
        monkeypatch.setattr(arrays, "CACHED_FROM", limit)
        found = load(image_files(tmp_path / "images"), tmp_path / "cache")
        results.append(PatchBatches(found, 20, 16, True, 3)[2])
    assert torch.equal(*results)


def test_augmentation_is_the_eight_symmetries() -> None:
    patch = torch.rand(1, 5, 5)
    turned = [dihedral(patch, code) for code in range(8)]
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert all(torch.equal(t.flatten().sort().values, patch.flatten().sort().values) for t in turned)


def test_image_smaller_than_a_patch() -> None:
    images = in_memory({"large": noise(0, 50, 50), "small": noise(1, 50, 30)})
    with pytest.raises(DataError, match=r"40×40 pixels: small"):
        PatchBatches(images, 40, 2, True, 0)


def test_batch_numbers_go_on_where_training_stopped() -> None:
    seen = 0
    numbers = BatchNumbers(3, lambda: seen)
    assert list(numbers) == [0, 1, 2]
    seen = 3
    assert list(numbers) == [3, 4, 5]
    ranks = [list(BatchNumbers(3, lambda: 2, stride=2, offset=rank)) for rank in (0, 1)]
    assert ranks == [[4, 6, 8], [5, 7, 9]]
