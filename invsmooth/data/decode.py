"""Image files to pixels, grey or colour."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from invsmooth.core.console import printable
from invsmooth.core.errors import DataError
from invsmooth.core.units import GREY_LEVELS
from invsmooth.data.files import ImageFile
from invsmooth.data.ppm import binary_ppm, largest
from invsmooth.data.tiff import Layout, TiffError, graded, is_tiff, layout
from invsmooth.data.tiff import deep_pixels as tiff_pixels

if TYPE_CHECKING:
    from torch import Tensor


FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "DIB", "GIF", "WEBP", "PPM")
"""Of Pillow, which reads files by their content: no others, of which one (EPS) runs a program."""
MOST_PIXELS = 2**27
"""Of one image: 11585×11585. Pillow's own limit is a third higher."""
LARGE = 2**26  # pixels; fewer than Pillow warns of
FILTERS = RLock()  # filters of warnings belong to the process
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Of red, green and blue (ITU-R 601), as Pillow's ``convert("L")`` weighs them."""


def read_pixels(file: ImageFile, channels: int = 1) -> np.ndarray:
    """An image of shape (H, W) with one channel, (3, H, W) with three (red, green, blue): uint8 levels, or float32 in
    [0, 1] if the file has more than 8 bits.

    One channel: colour becomes luma. Three: grey is repeated. Alpha is dropped, palettes are looked up, a rotation that the
    file asks for is applied. More than 8 bits are kept. Black and white are those of the file's tags (docs/data.md).
    Raises: DataError: the file cannot be read as an image, has several frames or no defined white, is too large, or holds
        floats outside [0, 1]."""
    if file.pixels is not None and file.pixels.dtype != np.uint8:
        return in_channels(in_range(file.pixels, file, "float"), channels)
    tiff = header(file).tiff
    if tiff is not None and not tiff.is_8_bit:
        return in_channels(in_range(deep_tiff(file, tiff), file, "TIFF"), channels)
    with opened(file) as image:
        deep = deep_pixels(image)
        if deep is None:
            turned = ImageOps.exif_transpose(plain(image))
            if channels == 1:  # a large image is not copied without need
                return np.array(turned if turned.mode == "L" else turned.convert("L"))
            return np.ascontiguousarray(np.moveaxis(np.asarray(turned.convert("RGB")), -1, 0))
        mode = image.mode
    if isinstance(deep, str):  # of a colour image, whose other halves are to be read
        deep = both_bytes(file, "B")
        deep /= np.float32(65535)
    return in_channels(in_range(deep, file, mode), channels)


def deep_tiff(file: ImageFile, tiff: Layout) -> np.ndarray:
    """Floats of shape (H, W) or (H, W, 3) of a TIFF file with more than 8 bits."""
    if tiff.by_tifffile:
        with readable(file), file.open() as stream:
            return tiff_pixels(stream, tiff)
    if (values := by_pillow(file, tiff)) is None:
        said = f"has {tiff.bits} bits in a form that is not read"
        raise DataError(f"{file} {said}: save it without compression, or with Deflate")
    return graded(values, tiff)


def by_pillow(file: ImageFile, tiff: Layout) -> np.ndarray | None:
    """The numbers of a TIFF file (H, W, samples): grey with another compression than tifffile's, or of 12 bits, and 16-bit
    colour. None: Pillow does not keep them. Raises: DataError: the file is damaged."""
    try:
        with opened(file) as image:
            colour = re.fullmatch(r"(RGB[AX]*|CMYK);16N", raw_mode(image))
            if tiff.samples == 1 and (image.mode.startswith("I;16") or image.mode == "F"):
                return np.asarray(ImageOps.exif_transpose(image))[..., None]
    except DataError as error:
        if isinstance(error.__cause__, UnidentifiedImageError):
            return None
        raise
    if not colour or tiff.bits != 16 or tiff.is_float or tiff.in_planes:
        return None
    return both_bytes(file, "L" if sys.byteorder == "little" else "B")


def plain(image: Image.Image) -> Image.Image:
    """With a palette's alpha apart: Pillow warns of it otherwise."""
    has_alpha = image.mode == "P" and isinstance(image.info.get("transparency"), bytes)
    return image.convert("RGBA") if has_alpha else image


def deep_pixels(image: Image.Image) -> np.ndarray | str | None:
    """Floats (H, W) or (H, W, 3) of an image with more than 8 bits that is no TIFF; of 16-bit colour in a PNG file what
    :func:`both_bytes` needs; None: it has 8 bits. Raises: ValueError: it is not read."""
    coded = raw_mode(image)
    if image.format == "PNG" and coded in ("RGB;16B", "RGBA;16B"):
        return coded
    if coded == "LA;16B":
        raise ValueError("grey of 16 bits with alpha is not read: remove the alpha")
    if image.format == "PPM" and image.mode == "RGB" and (most := largest(image)) > GREY_LEVELS:
        return binary_ppm(image, most)
    if image.mode.startswith("I"):
        return np.asarray(ImageOps.exif_transpose(image), dtype=np.float32) / np.float32(65535)
    return np.array(image, dtype=np.float32) if image.mode == "F" else None


def raw_mode(image: Image.Image) -> str:
    """How the pixels are coded in the file, in Pillow's words."""
    tiles = getattr(image, "tile", [])  # an array has none
    args = tiles[0].args if tiles else ""
    return str(args if isinstance(args, str) else args[0] if args else "")


def both_bytes(file: ImageFile, high: str) -> np.ndarray:
    """16-bit colour (H, W, 3 or 4). Pillow keeps one byte of each number: that which is first in the order of bytes
    ``high`` (B or L), or, where it is told that they stand the other way round, the second."""
    halves = []
    for order in (high, "L" if high == "B" else "B"):
        with opened(file) as image:
            coded = re.sub(r"16[BLN]$", f"16{order}", raw_mode(image))
            image.tile = [  # type: ignore[attr-defined]
                t._replace(args=coded if isinstance(t.args, str) else (coded, *t.args[1:]))
                for t in image.tile  # type: ignore[attr-defined]
            ]
            bands = 4 if image.mode == "CMYK" else 3  # without alpha
            halves.append(np.asarray(ImageOps.exif_transpose(image))[..., :bands])
    whole = halves[0].astype(np.float32)
    whole *= 256
    whole += halves[1]
    return whole


def in_range(pixels: np.ndarray, file: ImageFile, mode: str) -> np.ndarray:
    if n := int((~np.isfinite(pixels)).sum()):
        raise DataError(f"{file} has {n} pixel values that are nan or infinite: replace them, or leave the image out")
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(f"{file} has pixel values outside [0, 1] ({mode} image): rescale it first")
    return pixels


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Floats (H, W) or (H, W, 3) as (H, W), or as (3, H, W)."""
    if channels == 1:
        return pixels if pixels.ndim == 2 else pixels @ LUMA
    return np.repeat(pixels[None], 3, axis=0) if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


@dataclass(frozen=True)
class Header:
    """What a file says of its image before anything is decoded."""

    height: int  # before any rotation
    width: int
    n_bytes: int  # of the pixels, decoded
    is_8_bit: bool  # whether read_pixels returns 8-bit levels
    tiff: Layout | None = None


def header(file: ImageFile) -> Header:
    """Raises: DataError: the file has none, is too large, or has what is not read."""
    if file.pixels is not None:
        shape = file.pixels.shape
        return Header(shape[0], shape[1], file.pixels.nbytes, file.pixels.dtype == np.uint8)
    with readable(file), file.open(header=True) as stream:
        if is_tiff(stream):
            tiff = layout(stream)
            found = Header(
                tiff.height,
                tiff.width,
                tiff.height * tiff.width * tiff.samples * -(-tiff.bits // 8),
                tiff.is_8_bit,
                tiff,
            )
        else:
            image = with_header(stream)
            # The second picture of an MPO file, which cameras write as .jpg, is a preview or another view.
            if image.format != "MPO" and getattr(image, "is_animated", False):
                raise ValueError("it has several frames: save the one that is meant in a file of its own")
            deep = image.mode.startswith("I") or image.mode == "F" or ";16" in raw_mode(image)
            deep = deep or (image.format == "PPM" and image.mode == "RGB" and largest(image) > GREY_LEVELS)
            n = image.height * image.width * len(image.getbands())
            found = Header(image.height, image.width, n * (2 if deep else 1), not deep)
        if found.height * found.width > MOST_PIXELS:
            raise ValueError(f"{found.width}×{found.height} are more than {MOST_PIXELS} pixels: cut it into parts")
        return found


def n_bytes(file: ImageFile) -> int:
    """Of the decoded pixels, by the file's header; 0 if it has none, which whoever decodes it finds."""
    with suppress(DataError):
        return header(file).n_bytes
    return 0


def is_8_bit(file: ImageFile) -> bool:
    """Whether :func:`read_pixels` returns 8-bit levels, by the file's header. Raises DataError: it has none."""
    return header(file).is_8_bit


def image_size(file: ImageFile) -> tuple[int, int]:
    """Height and width of an image before any rotation, by the file's header. Raises DataError: it has none."""
    found = header(file)
    return found.height, found.width


@contextmanager
def opened(file: ImageFile) -> Iterator[Image.Image]:
    """The file, which has a good :func:`header`, as an image.
    Raises DataError: it cannot be opened, or (within the block) not decoded."""
    if file.pixels is not None:
        yield Image.fromarray(file.pixels)
        return
    with readable(file), file.open() as stream, with_header(stream) as image:
        # Pillow warns when it decodes some formats, too. So large images are decoded one at a time.
        large = image.width * image.height > LARGE
        with without_warning() if large else nullcontext():
            yield image


def with_header(stream: IO[bytes]) -> Image.Image:
    """An image of which nothing is decoded yet."""
    with without_warning():
        return Image.open(stream, formats=FORMATS)


@contextmanager
def without_warning() -> Iterator[None]:
    """:data:`MOST_PIXELS` is the limit here, not Pillow's warning of large images."""
    with FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@contextmanager
def readable(file: ImageFile) -> Iterator[None]:
    """Raises DataError, which names the file, in place of any error of the block. Of damaged files the
    decoders raise whatever they stumble over."""
    try:
        yield
    except DataError:
        raise
    except TiffError as error:
        raise DataError(f"{file} {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{file} cannot be read as an image: it is of none of the formats {', '.join(FORMATS)}"
        ) from error
    except Exception as error:
        said = printable(error) or type(error).__name__
        raise DataError(f"{file} cannot be read as an image: {said}") from error


def unit_scale(pixels: np.ndarray) -> np.ndarray:
    """8-bit levels (uint8) or floats in [0, 1] as float32 in [0, 1]; always a copy."""
    scaled = pixels.astype(np.float32)
    return scaled / np.float32(GREY_LEVELS) if pixels.dtype == np.uint8 else scaled


def read_image(path: str | Path, channels: int = 1) -> Tensor:
    """An image of shape (channels, H, W), float32 in [0, 1]; see :func:`read_pixels`.
    Raises: ValueError: channels is neither 1 nor 3. DataError: the file cannot be read as an image."""
    import torch  # not above: the list of data sets does not wait for it

    if channels not in (1, 3):
        raise ValueError(f"channels={channels}: 1 (grey) or 3 (red, green, blue)")
    pixels = torch.from_numpy(unit_scale(read_pixels(ImageFile(Path(path)), channels)))
    return pixels if channels == 3 else pixels[None]


Pixels = TypeVar("Pixels", "Tensor", np.ndarray)


def centre_crop(image: Pixels, size: int | None) -> Pixels:
    """The central ``size`` × ``size`` pixels of an image (…, H, W); a side that is shorter stays whole. None: no crop."""
    if size is None:
        return image
    height, width = image.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return image[..., top : top + size, left : left + size]
