"""Colour images: as files, as arrays, as patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from invsmooth.core.errors import DataError
from invsmooth.data import arrays, image_files, in_memory, load, read_image
from invsmooth.data.decode import image_size, read_pixels
from invsmooth.data.files import as_image_files
from invsmooth.data.patches import PatchBatches, dihedral
from tests.data.pictures import GREY, noise, save

COLOUR = np.stack([noise(0, 12, 10), noise(1, 12, 10), noise(2, 12, 10)], axis=-1)


def test_files_have_the_channels_that_are_asked_for(tmp_path: Path) -> None:
    colour, grey = save(tmp_path / "a.png", COLOUR), save(tmp_path / "b.png")
    assert np.array_equal(read_image(colour, 3).numpy(), np.moveaxis(COLOUR, -1, 0).astype(np.float32) / 255)
    assert np.array_equal(read_image(grey, 3).numpy(), np.repeat(GREY[None].astype(np.float32) / 255, 3, 0))
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_image(colour)[0].numpy() * 255 - luma).max() <= 0.51
    with pytest.raises(ValueError, match="channels=2"):
        read_image(colour, 2)


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(COLOUR).quantize(256).save(path) if mode == "P" else Image.fromarray(COLOUR).convert(mode).save(
        path
    )
    assert np.abs(read_image(path, 3).numpy() * 255 - np.moveaxis(COLOUR, -1, 0)).max() <= (40 if mode == "P" else 2)


def test_16_bits_of_grey_are_kept(tmp_path: Path) -> None:
    levels = np.arange(120, dtype=np.uint16).reshape(12, 10) * 500
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png", 3), read_image(tmp_path / "a.png").repeat(3, 1, 1))


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("first", [False, True])
def test_arrays(kind: type, first: bool) -> None:
    array = COLOUR if kind is np.uint8 else (COLOUR / 255).astype(kind)
    file = as_image_files({"a": np.moveaxis(array, -1, 0) if first else array}, "mine")["a"]
    assert image_size(file) == (12, 10)
    expected = np.moveaxis(COLOUR, -1, 0)
    found = read_pixels(file, 3)
    assert np.allclose(found if kind is np.uint8 else found * 255, expected, atol=1e-4)
    grey = read_pixels(file)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs((grey if kind is np.uint8 else grey * 255) - luma).max() <= 0.51


def test_floats_outside_the_scale_are_refused() -> None:
    file = as_image_files({"a": COLOUR.astype(np.float32)}, "mine")["a"]
    with pytest.raises(DataError, match=r"outside \[0, 1\]"):
        read_pixels(file, 3)


@pytest.mark.parametrize("cached", [False, True])
def test_images_and_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool) -> None:
    """Of different sizes, in memory or on the disk; each patch against a slice."""
    other = np.stack([noise(k, 20, 11) for k in (3, 4, 5)], axis=-1)
    for name, array in (("a", COLOUR), ("b", other)):
        save(tmp_path / "in" / f"{name}.png", array)
    if cached:
        monkeypatch.setattr(arrays, "CACHED_FROM", 0)
    files = image_files(tmp_path / "in")
    images, grey = load(files, tmp_path / "cache", 3), load(files, tmp_path / "cache")
    assert (images.channels, grey.channels) == (3, 1)
    for i, array in enumerate((COLOUR, other)):
        assert np.array_equal((images.image(i) * 255).round().numpy(), np.moveaxis(array, -1, 0))
        assert grey.image(i).shape == (1, *array.shape[:2])
    batches = PatchBatches(images, 7, 64, True, 0)
    chosen, place, code = batches.draws(0, 64)
    assert set(chosen) == {0, 1}
    for patch, i, (u, v), turn in zip(batches[0], chosen, place, code, strict=True):
        image = images.image(i)
        top, left = int(u * (image.shape[1] - 6)), int(v * (image.shape[2] - 6))
        assert torch.equal(patch, dihedral(image[:, top : top + 7, left : left + 7], int(turn)))


def test_in_memory() -> None:
    images = in_memory({"a": np.moveaxis(COLOUR, -1, 0)}, 3)
    assert images.image(0).shape == (3, 12, 10)
    assert images.shapes.tolist() == [[12, 10]]
