"""Black and white of image files of every kind, generated here and compared with the numbers that went in."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from invsmooth.core.errors import DataError
from invsmooth.data.decode import LUMA, header, read_pixels
from invsmooth.data.files import ImageFile
from tests.data.pictures import GREY, noise, save

DEEP = np.random.default_rng(0).integers(0, 65536, (12, 10, 4), dtype=np.uint16)
RGB = DEEP[..., :3]


def tiff(path: Path, array: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, array, **options)  # type: ignore[arg-type]
    return path


def patched(path: Path, tag: int, value: int) -> Path:
    """Another value of a short tag of a TIFF file."""
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[tag].overwrite(value, dtype=3)  # type: ignore[union-attr]
    return path


def png(path: Path, array: np.ndarray, colour_type: int) -> Path:
    """16 bits, which Pillow does not write in colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = array.shape[:2]
    # The first half of the rows plain, the others as differences to the row above.
    rows = array.astype(">u2").reshape(height, -1).view(np.uint8)
    up = [rows[i] - (rows[i - 1] if i else 0) for i in range(height)]
    lines = [b"\0" + rows[i].tobytes() if i < 6 else b"\2" + up[i].tobytes() for i in range(height)]
    size = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    data = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def grey12(path: Path, levels: np.ndarray) -> Path:
    """A 12-bit TIFF file, which nothing here writes: two numbers in three bytes."""
    a, b = levels[:, 0::2].astype(np.uint32), levels[:, 1::2].astype(np.uint32)
    packed = np.stack([a >> 4, ((a & 15) << 4) | (b >> 8), b & 255], axis=-1).astype(np.uint8).tobytes()
    height, width = levels.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag == 273 else 3, 1, value) for tag, value in tags)
    entries += struct.pack("<HHII", 279, 4, 1, len(packed))
    directory = struct.pack("<H", len(tags) + 1) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory)
    return path


def close(path: Path, expected: np.ndarray, channels: int = 1) -> None:
    """Of (H, W) or (H, W, 3) in [0, 1]."""
    found = read_pixels(ImageFile(path), channels)
    assert found.dtype == np.float32
    assert not header(ImageFile(path)).is_8_bit
    if channels == 1:
        expected = expected if expected.ndim == 2 else expected @ LUMA
    else:
        expected = np.moveaxis(expected if expected.ndim == 3 else np.stack([expected] * 3, -1), -1, 0)
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_grey_and_colour(tmp_path: Path, channels: int) -> None:
    grey, colour = DEEP[..., 0] / 65535, RGB / 65535
    close(tiff(tmp_path / "a.tif", DEEP[..., 0]), grey, channels)
    close(tiff(tmp_path / "b.tif", DEEP[..., 0], photometric="miniswhite"), 1 - grey, channels)
    close(tiff(tmp_path / "c.tif", RGB, photometric="rgb"), colour, channels)
    close(tiff(tmp_path / "d.tif", RGB, photometric="rgb", compression="zlib", predictor=True), colour, channels)
    close(
        tiff(tmp_path / "e.tif", np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate"), colour, channels
    )
    close(tiff(tmp_path / "f.tif", RGB, photometric="rgb", byteorder=">"), colour, channels)
    close(tiff(tmp_path / "g.tif", DEEP, photometric="rgb", extrasamples=["unassalpha"]), colour, channels)
    close(
        tiff(tmp_path / "h.tif", DEEP[..., :2], photometric="minisblack", extrasamples=["unassalpha"]), grey, channels
    )
    close(png(tmp_path / "c.png", RGB, 2), colour, channels)
    close(png(tmp_path / "g.png", DEEP, 6), colour, channels)
    close(save(tmp_path / "a.png", DEEP[..., 0]), grey, channels)
    inks = (1 - colour) * (1 - DEEP[..., 3:] / 65535)
    close(tiff(tmp_path / "i.tif", DEEP, photometric="separated"), inks, channels)


def test_grey_that_tifffile_does_not_unpack(tmp_path: Path) -> None:
    """12 bits, and LZW."""
    levels = (DEEP[..., 0] >> 4).astype(np.uint16)
    close(grey12(tmp_path / "a.tif", levels), levels / 4095)
    Image.fromarray(DEEP[..., 0]).save(tmp_path / "b.tif", compression="tiff_lzw")
    close(tmp_path / "b.tif", DEEP[..., 0] / 65535)
    white = patched(tmp_path / "b.tif", 262, 0)
    close(white, 1 - DEEP[..., 0] / 65535)


def lzw(data: bytes) -> bytes:
    """As TIFF has it: numbers of 9 bits, and a new table (256) before they would need more."""
    codes = [c for i in range(0, len(data), 200) for c in (256, *data[i : i + 200])]
    bits = "".join(f"{c:09b}" for c in [*codes, 257])
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", "<>")
def test_colour_that_tifffile_does_not_unpack(order: str, channels: int, tmp_path: Path) -> None:
    """16 bits with LZW. Pillow keeps one byte of each number at a time."""
    colour, inks = RGB / 65535, (1 - RGB / 65535) * (1 - DEEP[..., 3:] / 65535)
    alpha = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    for name, array, expected, options in (
        ("a.tif", RGB, colour, {"photometric": "rgb"}),
        ("b.tif", DEEP, colour, alpha),
        ("c.tif", DEEP, inks, {"photometric": "separated"}),
    ):
        strips = (lzw(array[i : i + 4].astype(f"{order}u2").tobytes()) for i in range(0, len(array), 4))
        path = tiff(
            tmp_path / name, strips, shape=array.shape, dtype="uint16", byteorder=order, compression="zlib",
            rowsperstrip=4, **options,
        )  # fmt: skip
        close(patched(path, 259, 5), expected, channels)  # tifffile itself does not write LZW


@pytest.mark.parametrize("bits", [10, 14])
def test_numbers_of_other_bits_are_refused_with_the_way_out(bits: int, tmp_path: Path) -> None:
    path = patched(grey12(tmp_path / "a.tif", (DEEP[..., 0] >> 4).astype(np.uint16)), 258, bits)
    with pytest.raises(
        DataError, match=rf"a\.tif has numbers of {bits} bits, which are not unpacked: save it with 16 bits, w"
    ):
        read_pixels(ImageFile(path))


def test_a_rotation_that_the_file_asks_for(tmp_path: Path) -> None:
    """The same as Pillow's of an 8-bit image."""
    for turn in range(1, 9):
        options = {"photometric": "rgb", "extratags": [(274, 3, 1, turn, True)]}
        eight = tiff(tmp_path / "a.tif", (RGB >> 8).astype(np.uint8), **options)
        deep = tiff(tmp_path / "b.tif", (RGB >> 8) * 257, **options)
        eight_bit = read_pixels(ImageFile(eight), 3)
        assert np.abs(read_pixels(ImageFile(deep), 3) - eight_bit / np.float32(255)).max() < 1e-6


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats(tmp_path: Path, kind: type) -> None:
    values = (GREY / 256).astype(kind)
    close(tiff(tmp_path / "a.tif", values), GREY / 256)
    close(tiff(tmp_path / "b.tif", values, photometric="miniswhite"), 1 - GREY / 256)
    colour = np.stack([values, values / 2, values / 4], -1)
    close(tiff(tmp_path / "c.tif", colour, photometric="rgb"), colour.astype(float), 3)
    for bad in (np.nan, np.inf, 1.5, -0.1):
        values[3, 4] = bad
        outside = r"pixel values outside \[0, 1\] \(.*\): rescale"
        said = outside if np.isfinite(bad) else "1 pixel values that are nan or infinite: replace them"
        with pytest.raises(DataError, match=rf"bad\.tif has {said}"):
            read_pixels(ImageFile(tiff(tmp_path / "bad.tif", values)))


def test_eight_bits(tmp_path: Path) -> None:
    def read(path: Path) -> np.ndarray:
        assert header(ImageFile(path)).is_8_bit
        return read_pixels(ImageFile(path))

    assert np.array_equal(read(tiff(tmp_path / "a.tif", GREY, photometric="miniswhite")), 255 - GREY)
    assert np.array_equal(read(save(tmp_path / "b.tif", GREY, "CMYK")), GREY)
    assert np.array_equal(read(tiff(tmp_path / "c.tif", GREY > 99, photometric="minisblack")), (GREY > 99) * 255)
    Image.fromarray(GREY).convert("P").save(tmp_path / "d.png", transparency=bytes(range(256)))
    assert np.array_equal(read(tmp_path / "d.png"), GREY)
    Image.fromarray(GREY).save(tmp_path / "E.GIF")
    assert np.array_equal(read(tmp_path / "E.GIF"), GREY)


def test_ppm_of_sixteen_bits(tmp_path: Path) -> None:
    for most in (65535, 4095):
        values = RGB.astype(int) % (most + 1)
        (tmp_path / "a.ppm").write_bytes(b"P6\n# a comment\n10 12\n%d\n" % most + values.astype(">u2").tobytes())
        close(tmp_path / "a.ppm", values / most, 3)
    whole = (tmp_path / "a.ppm").read_bytes()
    (tmp_path / "a.ppm").write_bytes(whole[:-9])
    with pytest.raises(DataError, match="it is cut off"):
        read_pixels(ImageFile(tmp_path / "a.ppm"))


REFUSED = {
    "signed": (GREY.astype(np.int16), {}, "signed integers, and which number is white"),
    "signed8": (GREY.astype(np.int8), {}, "signed integers, and which number is white"),
    "int32": (GREY.astype(np.uint32), {}, "integers of 32 bits, and which number is white"),
    "complex": (GREY.astype(np.complex64), {}, "numbers of an unknown kind"),
    "pages": (np.stack([GREY, GREY]), {"photometric": "minisblack"}, "several images"),
    "alpha": (DEEP, {"photometric": "rgb", "extrasamples": ["assocalpha"]}, "colours multiplied by alpha"),
    "lab": (RGB, {"photometric": "cielab"}, "neither grey nor of colours that are read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(tmp_path: Path, name: str) -> None:
    array, options, said = REFUSED[name]
    path = tiff(tmp_path / f"{name}.tif", array, **options)
    for read in (header, read_pixels):
        with pytest.raises(DataError, match=rf"{name}\.tif (has|is) {said}"):
            read(ImageFile(path))


def test_deep_colour_in_a_compression_that_is_not_read(tmp_path: Path) -> None:
    floats = tiff(tmp_path / "a.tif", (RGB / 65535).astype(np.float16), photometric="rgb")
    planes = tiff(tmp_path / "b.tif", np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate")
    for path in (floats, planes):
        with pytest.raises(
            DataError, match=r"\.tif has 16 bits in a form that is not read: save it without compression"
        ):
            read_pixels(ImageFile(patched(path, 259, 5)))


def test_several_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(noise(k)) for k in range(3)]
    for name in ("a.gif", "a.webp", "a.png"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match="several frames"):
            read_pixels(ImageFile(tmp_path / name))
    # A smaller copy is no second image, nor is the preview in a camera's file.
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(GREY)
        writer.write(GREY[::2, ::2], subfiletype=1)
    assert np.array_equal(read_pixels(ImageFile(tmp_path / "a.tif")), GREY)
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert read_pixels(ImageFile(tmp_path / "a.jpg")).shape == (16, 16)


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        read_pixels(ImageFile(path))
    except DataError as error:
        return str(error)
    return ""


def test_damage_is_named_whatever_the_decoder_raises(tmp_path: Path) -> None:
    """Every kind, cut off at many places and with bytes changed: an image of the same size, or DataError, and no trace."""
    tiff(tmp_path / "a.tif", DEEP[..., 0])
    tiff(tmp_path / "b.tif", RGB, photometric="rgb", compression="zlib")
    png(tmp_path / "c.png", RGB, 2)
    save(tmp_path / "d.jpg")
    save(tmp_path / "e.gif")
    draw = np.random.default_rng(1)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        damaged = [whole[:n] for n in range(0, len(whole), max(1, len(whole) // 25))]
        for _ in range(40):
            changed = bytearray(whole)
            for k in draw.integers(0, min(len(whole), 300), 3):
                changed[-k] ^= int(draw.integers(1, 256))
            damaged.append(bytes(changed))
        said = [refusal(path, content) for content in damaged]
        assert all(line.startswith(f"{path} ") and line.isprintable() for line in said if line)
        assert sum(map(bool, said)) > 20


def test_no_other_format_by_a_false_name(tmp_path: Path) -> None:
    """Pillow runs a program for EPS files, whatever their name."""
    Image.fromarray(GREY).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: it is of none of the formats PNG, "):
        read_pixels(ImageFile(tmp_path / "a.png"))
