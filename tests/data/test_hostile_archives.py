"""Zip archives as other programs, accidents and malice make them."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from invsmooth.core.errors import DataError
from invsmooth.data import image_files, load
from invsmooth.data.decode import read_pixels
from tests.data.pictures import GREY, noise


def png(pixels: np.ndarray = GREY) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def altered(path: Path, offset: int, value: bytes) -> Path:
    """With other bytes at an offset of the first entry of the directory, which comes last in the file."""
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02") + offset
    content[at : at + len(value)] = value
    path.write_bytes(content)
    return path


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(DataError) as error:
        load(image_files(path), tmp_path / "cache")
    return str(error.value)


def test_names_with_backslashes_are_folders(tmp_path: Path) -> None:
    path = packed(tmp_path / "A.ZIP", {"set\\a.PNG": png(), "set\\": b"", "__MACOSX\\a.png": b"rubbish"})
    files = image_files(path)
    assert list(files) == ["set/a.PNG"]
    assert np.array_equal(read_pixels(files["set/a.PNG"]), GREY)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr("a.png", png(noise(1)))
    assert "a.zip has two members of the name 'a.png'" in refused(tmp_path / "a.zip", tmp_path)
    packed(tmp_path / "b.zip", {"c/a.png": png(), "c\\a.png": png()})
    assert "b.zip has two members of the name 'c/a.png'" in refused(tmp_path / "b.zip", tmp_path)


def test_what_cannot_be_unpacked_is_named_and_why(tmp_path: Path) -> None:
    members = {f"{name}.png": png(noise(k)) for k, name in enumerate("abc")}
    said = refused(altered(packed(tmp_path / "a.zip", members), 8, b"\1"), tmp_path)
    assert "1 of 3 images" in said
    assert "a.zip/a.png is encrypted: unpack" in said
    said = refused(altered(packed(tmp_path / "b.zip", members), 10, struct.pack("<H", 9)), tmp_path)
    assert "b.zip/a.png is compressed by a method that is not read (deflate64): unpack" in said
    path = packed(tmp_path / "c.zip", members)
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)
    assert "c.zip/a.png cannot be read as an image: " in refused(path, tmp_path)
    for k in (0, 10, 300, len(content) - 5):
        path.write_bytes(content[:k])
        assert refused(path, tmp_path).startswith(f"{path} cannot be read as a zip archive: ")


def test_every_method_that_python_has(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        files = image_files(packed(tmp_path / f"{method}.zip", {"a.png": png()}, method))
        assert np.array_equal(read_pixels(files["a.png"]), GREY)


# Bombs: files of some kilobytes that would be gigabytes.


def png_bomb(side: int, rows: int) -> bytes:
    """A header of side × side pixels, and so many rows of zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((3 * side + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff_bomb(path: Path, side: int) -> bytes:
    tifffile.imwrite(path, np.zeros((16, 16), np.uint16))
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in (256, 257, 278):
            file.pages[0].tags[tag].overwrite(side, dtype=3)  # type: ignore[union-attr]
    return path.read_bytes()


def long_member(path: Path, n: int) -> None:
    """A whole image, followed by zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.png", "w") as member:
        member.write(png())
        for _ in range(n // 2**20):
            member.write(bytes(2**20))


def bombs(folder: Path) -> dict[str, str]:
    """Archives in ``folder``, and what is said of each."""
    (folder / "made").mkdir(parents=True)
    packed(folder / "header.zip", {"a.png": png_bomb(40_000, 1)})
    packed(folder / "promise.zip", {f"{k}.png": png_bomb(8_000, 1) for k in range(3)})
    whole = png_bomb(4_000, 4_000)
    packed(folder / "many.zip", {f"{k}.png": whole for k in range(20)})
    packed(folder / "tiff.zip", {"a.tif": tiff_bomb(folder / "made" / "a.tif", 60_000)})
    packed(folder / "tiff2.zip", {"a.tif": tiff_bomb(folder / "made" / "a.tif", 8_000)})
    long_member(folder / "long.zip", 600 * 2**20)
    altered(packed(folder / "declared.zip", {"a.png": png()}), 24, struct.pack("<I", 2**32 - 16))
    return {
        "header.zip": "40000×40000 are more than|exceeds limit", "promise.zip": "images do not shrink so much",
        "many.zip": "images do not shrink so much", "tiff.zip": "60000×60000 are more than",
        "tiff2.zip": "cannot be read as an image", "long.zip": "bytes: no image file does",
        "declared.zip": "bytes: no image file does",
    }  # fmt: skip


MEASURED = """
import resource, sys
from pathlib import Path
from invsmooth.core.errors import DataError
from invsmooth.data import image_files, load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        load(image_files(path), Path(path).with_name("cache"))
        print("loaded")
    except DataError as error:
        print(str(error).replace("\\n", " "))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_small_archives_take_little_memory(tmp_path: Path) -> None:
    """In a process of its own: how much more than before it needs, at most, for all of them."""
    made = bombs(tmp_path / "bombs")
    paths = [tmp_path / "bombs" / name for name in made]
    assert all(path.stat().st_size < 2**20 for path in paths)
    output = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, paths)], capture_output=True, text=True, check=True
    )
    *said, megabytes = output.stdout.splitlines()
    for (name, expected), line in zip(made.items(), said, strict=True):
        assert any(part in line for part in expected.split("|")), (name, line)
    assert int(megabytes) < 150
    assert not output.stderr


def test_a_large_plain_image_is_no_bomb(tmp_path: Path) -> None:
    """Of one grey: 12 megapixels in 12 kilobytes."""
    path = packed(tmp_path / "a.zip", {"a.png": png(np.full((3000, 4000), 99, np.uint8))})
    assert load(image_files(path), tmp_path / "cache").shapes.tolist() == [[3000, 4000]]
