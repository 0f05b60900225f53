"""TIFF files of more than 8 bits, by their tags: Pillow reads them as if white were always 65535 and black 0."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
import tifffile

GREY, RGB, CMYK = (0, 1), 2, 5
WHITE_IS_ZERO = 0
PHOTOMETRIC = {0: "WhiteIsZero", 1: "BlackIsZero", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
UNPACKED = (1, 8, 32946)
"""Compressions that tifffile reads by itself: none, and Deflate under its two numbers."""
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# It reports, in lines of its own, what the errors here say.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


class TiffError(ValueError):
    """What a TIFF file holds is no image with a defined black and white, or one that is not read."""


@dataclass(frozen=True)
class Layout:
    """Of the one image in a file, by its tags."""

    height: int
    width: int
    samples: int  # with alpha
    bits: int  # of each sample
    is_float: bool
    photometric: int
    by_tifffile: bool  # whether tifffile can unpack it
    in_planes: bool  # one channel after the other

    @property
    def is_8_bit(self) -> bool:
        return self.bits <= 8

    @property
    def white(self) -> int:
        """The largest number, which is white (black with WhiteIsZero)."""
        return 1 if self.is_float else 2**self.bits - 1


def is_tiff(stream: IO[bytes]) -> bool:
    start = stream.read(4)
    stream.seek(0)
    return start in MAGIC


@contextmanager
def the_page(stream: IO[bytes]) -> Iterator[tifffile.TiffPage]:
    """The one image. Raises: TiffError: there are several. Any other error: the file is damaged."""
    with tifffile.TiffFile(stream) as file:
        # Bits of NewSubfileType: 1 is a smaller copy, 4 a mask.
        images = (page for page in file.pages if isinstance(page, tifffile.TiffPage) and not page.subfiletype & 5)
        page = next(images, None)
        if page is None:
            raise TiffError("has no image")
        if next(images, None) is not None:
            raise TiffError("has several images (pages): save the one that is meant in a file of its own")
        yield page


def layout(stream: IO[bytes]) -> Layout:
    """Raises: as :func:`the_page`. TiffError: the tags do not say what is black and what is white."""
    with the_page(stream) as page:
        bits, kind, photometric = page.bitspersample, page.sampleformat, int(page.photometric)
        if not isinstance(bits, int) or not isinstance(kind, int):
            raise TiffError("has channels of different types")
        if 262 not in page.tags or photometric not in PHOTOMETRIC:
            raise TiffError(f"is neither grey nor of colours that are read (photometric interpretation {photometric})")
        if kind == SIGNED:
            raise TiffError(
                "has signed integers, and which number is white is not defined: rescale it to unsigned ones"
            )
        if kind not in (UNSIGNED, FLOAT):
            raise TiffError(f"has numbers of an unknown kind (sample format {kind})")
        if kind == UNSIGNED and 8 < bits < 16 and bits != 12:
            raise TiffError(f"has numbers of {bits} bits, which are not unpacked: save it with 16 bits, white at 65535")
        if kind == UNSIGNED and bits > 16:
            said = f"has integers of {bits} bits, and which number is white is not defined"
            raise TiffError(f"{said}: rescale it to 16 bits, or to floats in [0, 1]")
        if bits > 8 and photometric not in (*GREY, RGB, *((CMYK,) if kind == UNSIGNED else ())):
            raise TiffError(f"has {bits} bits of {PHOTOMETRIC[photometric]}, which is read with 8 only")
        if photometric == CMYK and page.tags.valueof(332, 1) != 1:
            raise TiffError("has inks that are not cyan, magenta, yellow and black")
        if bits > 8 and page.extrasamples and page.extrasamples[0] == 1:
            raise TiffError(f"has colours multiplied by alpha, which are read with 8 bits only, not {bits}")
        return Layout(
            page.imagelength, page.imagewidth, page.samplesperpixel, bits, kind == FLOAT, photometric,
            bits in (16, 32, 64) and page.compression in UNPACKED and page.predictor in (1, 2), page.planarconfig == 2,
        )  # fmt: skip


def deep_pixels(stream: IO[bytes], of: Layout) -> np.ndarray:
    """float32 of shape (H, W) or (H, W, 3), black 0 and white 1, unless a file of floats holds others. ``of``:
    its :func:`layout`, with more than 8 bits and ``by_tifffile``. Raises: TiffError: parts of the image are missing."""
    size = stream.seek(0, 2)
    stream.seek(0)
    with the_page(stream) as page:
        ends = [(o, o + n) for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or any(start <= 0 or stop <= start or stop > size for start, stop in ends):
            raise TiffError("is cut off")
        pixels = page.asarray(maxworkers=1)
        shape = page.axes
        turn = page.tags.valueof(274, 1)
    if "S" in shape:
        pixels = np.moveaxis(pixels, shape.index("S"), -1)
    return turned(graded(pixels.reshape(of.height, of.width, of.samples), of), turn)


def graded(pixels: np.ndarray, of: Layout) -> np.ndarray:
    """Numbers of a file (H, W, samples), without their alpha, on the scale where black is 0 and white 1."""
    values = pixels.astype(np.float32) / np.float32(of.white)
    if of.photometric in GREY:
        return 1 - values[..., 0] if of.photometric == WHITE_IS_ZERO else values[..., 0]
    if of.photometric == CMYK:
        ink = values[..., :4]
        return (1 - ink[..., :3]) * (1 - ink[..., 3:])
    return values[..., :3]


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, …) as the orientation tag wants it seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    up_down, left_right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if up_down else 1, :: -1 if left_right else 1])
