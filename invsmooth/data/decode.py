"""Image files to grey pixels."""

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


def grey_pixels(file: ImageFile) -> np.ndarray:
    """A grey image of shape (H, W): uint8 grey levels, or float32 in [0, 1] if the file has more than 8 bits.

    Colour becomes luma (ITU-R 601, as Pillow's ``convert("L")``), alpha is dropped, palettes are looked up, an EXIF
    rotation is applied. 16-bit grey keeps its 16 bits.
    Raises: DataError: the file cannot be read as an image, or holds floats outside [0, 1]."""
    with opened(file) as image:
        turned = ImageOps.exif_transpose(image)
        if turned.mode.startswith("I"):
            pixels = np.asarray(turned, dtype=np.float32) / np.float32(65535)
        elif turned.mode == "F":
            pixels = np.array(turned, dtype=np.float32)
        else:
            return np.array(turned.convert("L"))
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(f"{file} has pixel values outside [0, 1] ({turned.mode} image): rescale it first")
    return pixels


def is_8_bit(file: ImageFile) -> bool:
    """Whether :func:`grey_pixels` returns grey levels, by the file's header. Raises DataError: it has none."""
    with opened(file) as image:
        return not (image.mode.startswith("I") or image.mode == "F")


def image_size(file: ImageFile) -> tuple[int, int]:
    """Height and width of an image before any rotation, by the file's header. Raises DataError: it has none."""
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
    """Grey levels (uint8) or floats in [0, 1] as float32 in [0, 1]; always a copy."""
    scaled = pixels.astype(np.float32)
    return scaled / np.float32(GREY_LEVELS) if pixels.dtype == np.uint8 else scaled


def read_image(path: str | Path) -> Tensor:
    """A grey image of shape (1, H, W), float32 in [0, 1]; see :func:`grey_pixels`."""
    import torch  # not above: the list of data sets does not wait for it

    return torch.from_numpy(unit_scale(grey_pixels(ImageFile(Path(path)))))[None]


def centre_crop(image: Tensor, size: int | None) -> Tensor:
    """The central ``size`` × ``size`` pixels of an image (…, H, W); a side that is shorter stays whole. None: no crop."""
    if size is None:
        return image
    height, width = image.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return image[..., top : top + size, left : left + size]
