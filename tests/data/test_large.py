"""Images of 100 megapixels and more: read, with bounded memory; refused above the limit, before they are decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from invsmooth.core.errors import DataError
from invsmooth.data import arrays, image_files, load
from invsmooth.data.arrays import ImageArrays, in_memory, windows
from invsmooth.data.decode import MOST_PIXELS, header, read_pixels
from invsmooth.data.files import ImageFile

SIDE = 10_000


def grey() -> np.ndarray:
    """SIDE × SIDE: smooth, and with all levels."""
    ramp = np.arange(SIDE) // 40
    return np.add.outer(ramp, ramp).astype(np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG file that promises an image and has one row of it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(width + 1))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_hundred_megapixels_are_read(tmp_path: Path, name: str) -> None:
    """As they are, without Pillow's warning (an error here); and only the crop becomes floats."""
    whole, path = grey(), tmp_path / name
    if name == "a.png":
        Image.fromarray(whole).save(path, compress_level=1)
    else:
        tifffile.imwrite(path, whole)
    found = read_pixels(ImageFile(path))
    assert found.dtype == np.uint8
    assert np.array_equal(found, whole)
    loaded = load(image_files(tmp_path), tmp_path / "cache")
    crop = loaded.image(0, 256)
    assert crop.shape == (1, 256, 256)
    middle = slice((SIDE - 256) // 2, (SIDE + 256) // 2)
    assert np.array_equal(crop[0].numpy(), whole[middle, middle].astype(np.float32) / np.float32(255))


def test_more_than_the_limit_is_refused_by_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    side = int(MOST_PIXELS**0.5) + 1
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    # Between Pillow's two limits, and above both.
    (tmp_path / "b.png").write_bytes(png_header(60_000, 60_000))
    tifffile.imwrite(tmp_path / "c.tif", shape=(side, side), dtype=np.uint8, compression="zlib", data=blank(side))
    for name, said in {"a.png": "are more than", "b.png": "exceeds limit", "c.tif": "are more than"}.items():
        with pytest.raises(DataError, match=rf"{name}.*{said}"):
            header(ImageFile(tmp_path / name))
        with pytest.raises(DataError, match=said):
            read_pixels(ImageFile(tmp_path / name))


def blank(side: int) -> np.ndarray:
    return np.broadcast_to(np.uint8(0), (side, side))


def test_images_of_a_window_have_few_bytes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small ones are decoded together, large ones one at a time."""
    monkeypatch.setattr(arrays, "WINDOW", 4)
    monkeypatch.setattr(arrays, "WINDOW_BYTES", 100)
    sizes = [10, 10, 10, 10, 10, 60, 60, 500, 30]
    files = {str(k): ImageFile(Path(str(k))) for k in range(len(sizes) + 1)}  # the last one has no header
    found = list(windows(files, {str(k): n for k, n in enumerate(sizes)}))
    assert [[int(file.path.name) for file in window] for window in found] == [[0, 1, 2, 3], [4, 5], [6], [7], [8, 9]]


def test_a_crop_is_cut_before_it_becomes_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    images: ImageArrays = in_memory({"a": np.arange(48 * 3, dtype=np.uint8).reshape(3, 6, 8)}, channels=3)
    whole, sizes = images.image(0), []
    scaled = arrays.unit_scale
    monkeypatch.setattr(arrays, "unit_scale", lambda pixels: sizes.append(pixels.size) or scaled(pixels))
    assert np.array_equal(images.image(0, 4), whole[:, 1:5, 2:6])
    assert sizes == [3 * 4 * 4]
