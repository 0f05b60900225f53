"""Image files to pixels, grey or colour."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from invsmooth.core.errors import DataError
from invsmooth.core.units import GREY_LEVELS
from invsmooth.data.files import ImageFile

if TYPE_CHECKING:
    from torch import Tensor


LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Of red, green and blue (ITU-R 601), as Pillow's ``convert("L")`` weighs them."""


def read_pixels(file: ImageFile, channels: int = 1) -> np.ndarray:
    """An image of shape (H, W) with one channel, (3, H, W) with three (red, green, blue): uint8 levels, or float32 in
    [0, 1] if the file has more than 8 bits.

    One channel: colour becomes luma. Three: grey is repeated. Alpha is dropped, palettes are looked up, an EXIF rotation is
    applied. 16-bit grey keeps its 16 bits.
    Raises: DataError: the file cannot be read as an image, or holds floats outside [0, 1]."""
    if file.pixels is not None and file.pixels.dtype != np.uint8:
        return in_channels(in_range(file.pixels, file, "float"), channels)
    with opened(file) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I"):
            pixels = np.asarray(turned, dtype=np.float32) / np.float32(65535)
        elif turned.mode == "F":
            pixels = np.array(turned, dtype=np.float32)
        elif channels == 1:
            return np.array(turned.convert("L"))
        else:
            return np.ascontiguousarray(np.moveaxis(np.asarray(turned.convert("RGB")), -1, 0))
        mode = turned.mode
    return in_channels(in_range(pixels, file, mode), channels)


def in_range(pixels: np.ndarray, file: ImageFile, mode: str) -> np.ndarray:
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(f"{file} has pixel values outside [0, 1] ({mode} image): rescale it first")
    return pixels


def in_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Floats (H, W) or (H, W, 3) as (H, W), or as (3, H, W)."""
    if channels == 1:
        return pixels if pixels.ndim == 2 else pixels @ LUMA
    return np.repeat(pixels[None], 3, axis=0) if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def is_8_bit(file: ImageFile) -> bool:
    """Whether :func:`read_pixels` returns 8-bit levels, by the file's header. Raises DataError: it has none."""
    if file.pixels is not None:
        return file.pixels.dtype == np.uint8
    with opened(file) as image:
        return not (image.mode.startswith("I") or image.mode == "F")


def image_size(file: ImageFile) -> tuple[int, int]:
    """Height and width of an image before any rotation, by the file's header. Raises DataError: it has none."""
    if file.pixels is not None:
        return file.pixels.shape[0], file.pixels.shape[1]
    with opened(file) as image:
        return image.height, image.width


@contextmanager
def opened(file: ImageFile) -> Iterator[Image.Image]:
    """The file as an image. Raises DataError: it cannot be opened, or (within the block) not decoded."""
    if file.pixels is not None:
        yield Image.fromarray(file.pixels)
        return
    try:
        with file.open() as stream, Image.open(stream) as image:
            yield image
    except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} cannot be read as an image: {error}") from error


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


def centre_crop(image: Tensor, size: int | None) -> Tensor:
    """The central ``size`` × ``size`` pixels of an image (…, H, W); a side that is shorter stays whole. None: no crop."""
    if size is None:
        return image
    height, width = image.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return image[..., top : top + size, left : left + size]
