from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from invsmooth.data import bundled_splits, folder_splits, image_files, read_image
from invsmooth.data.datamodule import check_sizes, decode_all
from invsmooth.data.decode import centre_crop
from invsmooth.data.patches import BatchNumbers, PatchBatches, dihedral
from invsmooth.errors import DataError

GREY = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10) * 2


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_grey_colour_alpha_and_palette(tmp_path: Path) -> None:
    expected = torch.from_numpy(GREY / 255).float()[None]
    for name, mode in {
        "grey.png": None,
        "rgb.png": "RGB",
        "rgba.png": "RGBA",
        "la.png": "LA",
        "grey.tif": None,
    }.items():
        torch.testing.assert_close(read_image(save(tmp_path / name, GREY, mode)), expected)
    palette = Image.fromarray(GREY).convert("P")
    palette.putpalette([v for g in range(256) for v in (255 - g, 255 - g, 255 - g)])
    palette.save(tmp_path / "palette.png")
    torch.testing.assert_close(read_image(tmp_path / "palette.png"), 1 - expected)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 3), dtype=np.uint8)
    rgb[..., 1] = 200
    value = float(read_image(save(tmp_path / "green.png", rgb))[0, 0, 0])
    assert value == pytest.approx(0.587 * 200 / 255, abs=1 / 255)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = (GREY.astype(np.uint16) << 8) + 77
    for name in ("deep.png", "deep.tif"):
        torch.testing.assert_close(
            read_image(save(tmp_path / name, deep))[0].numpy(), (deep / 65535).astype(np.float32)
        )


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png").shape == (1, 10, 12)


def test_unreadable_files_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    whole = save(tmp_path / "good.png", GREY).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 3 images") as error:
        decode_all({p.name: p for p in image_files(tmp_path)})
    assert "text.png" in str(error.value)
    assert "cut.png" in str(error.value)


def test_float_image_outside_the_unit_range(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        read_image(save(tmp_path / "float.tif", GREY.astype(np.float32)))


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image in"):
        image_files(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        image_files(tmp_path / "none")


def test_folder_splits_share_no_image(tmp_path: Path) -> None:
    for k in range(12):
        save(tmp_path / f"bild ü {k:02}.png", GREY + k)
    splits = folder_splits(tmp_path, holdout=0.25)
    assert {s: len(v) for s, v in splits.items()} == {"train": 9, "val": 1, "test": 2}
    assert len({name for v in splits.values() for name in v}) == 12
    assert len(folder_splits(tmp_path, holdout=1)["test"]) == 12


def test_folder_with_split_folders(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        (tmp_path / split / "deep").mkdir(parents=True)
        save(tmp_path / split / "deep" / "a.png", GREY)
    splits = folder_splits(tmp_path, holdout=0.2)
    assert {s: list(v) for s, v in splits.items()} == {s: ["deep/a.png"] for s in ("train", "val", "test")}


def test_folder_with_too_few_images(tmp_path: Path) -> None:
    for k in range(2):
        save(tmp_path / f"{k}.png", GREY)
    with pytest.raises(DataError, match="2 images; at least 3"):
        folder_splits(tmp_path, holdout=0.2)


def test_bundled_photographs() -> None:
    splits = bundled_splits()
    names = [name for images in splits.values() for name in images]
    assert len(names) == len(set(names)) == 10
    for images in splits.values():
        for decoded in decode_all(images):
            assert min(decoded.x.shape[-2:]) >= 300
            assert 0 <= decoded.x.min() < decoded.x.max() <= 1


def test_patches_depend_on_seed_and_number_alone() -> None:
    images = [torch.rand(1, 50, 40), torch.rand(1, 41, 60)]
    first, again, other = (PatchBatches(images, ["a", "b"], 33, 8, True, seed) for seed in (0, 0, 1))
    assert torch.equal(first[5], again[5])
    assert not torch.equal(first[5], first[6])
    assert not torch.equal(first[5], other[5])
    assert first[5].shape == (8, 1, 33, 33)


def test_two_processes_with_half_the_batch_see_the_same_patches() -> None:
    images = [torch.rand(1, 50, 40), torch.rand(1, 41, 60)]
    whole, half = (PatchBatches(images, ["a", "b"], 20, size, True, 0) for size in (12, 6))
    for k in range(3):
        assert torch.equal(whole[k], torch.cat([half[2 * k], half[2 * k + 1]]))


def test_patches_lie_in_the_images_and_reach_their_borders() -> None:
    """Height and width are not swapped (ERRATA 18): patches of a narrow image cover all of it and nothing else."""
    rows = torch.arange(1.0, 61).view(1, 60, 1).expand(1, 60, 12)
    batches = PatchBatches([rows], ["a"], 12, 64, augment=False, seed=0)
    seen = torch.cat([batches[k] for k in range(8)])
    assert set(seen.unique().tolist()) == set(range(1, 61))


def test_augmentation_is_the_eight_symmetries() -> None:
    patch = torch.rand(1, 5, 5)
    turned = [dihedral(patch, code) for code in range(8)]
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert all(torch.equal(t.flatten().sort().values, patch.flatten().sort().values) for t in turned)


def test_image_smaller_than_a_patch() -> None:
    with pytest.raises(DataError, match=r"40×40 pixels: small"):
        PatchBatches([torch.rand(1, 50, 50), torch.rand(1, 50, 30)], ["large", "small"], 40, 2, True, 0)


def test_batch_numbers_go_on_where_training_stopped() -> None:
    seen = 0
    numbers = BatchNumbers(3, lambda: seen)
    assert list(numbers) == [0, 1, 2]
    seen = 3
    assert list(numbers) == [3, 4, 5]
    ranks = [list(BatchNumbers(3, lambda: 2, stride=2, offset=rank)) for rank in (0, 1)]
    assert ranks == [[4, 6, 8], [5, 7, 9]]


def test_image_too_small_for_ssim() -> None:
    images = decode_all({"a": lambda: torch.rand(1, 30, 10), "b": lambda: torch.rand(1, 30, 30)})
    with pytest.raises(DataError, match=r"11×11 pixels.*: a$"):
        check_sizes(images, None)
    with pytest.raises(DataError, match=r"data.crop=8.*: a, b$"):
        check_sizes(images, 8)
    check_sizes(images[1:], 11)


def test_centre_crop() -> None:
    image = torch.arange(30.0).view(1, 5, 6)
    assert torch.equal(centre_crop(image, 3), image[:, 1:4, 1:4])
    assert centre_crop(image, None).shape == (1, 5, 6)
    assert centre_crop(image, 99).shape == (1, 5, 6)


def test_shared_sets_decode(shared_data: Path) -> None:
    counts = {"bsd68": 68, "set11": 11, "set12": 12, "train400": 400, "imagenet": 60}
    for name, count in counts.items():
        files = image_files(shared_data / name)
        assert len(files) == count
        assert read_image(files[0]).shape[0] == 1
