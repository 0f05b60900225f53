"""Image files to grey float images on the [0, 1] pixel scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from invsmooth.errors import DataError
from invsmooth.units import GREY_LEVELS

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})
MAX_16_BIT = 65535.0


def read_image(path: str | Path) -> Tensor:
    """A grey image of shape (1, H, W), float32 in [0, 1].

    Colour becomes luma (ITU-R 601, as Pillow's ``convert("L")``), alpha is dropped, palettes are looked up, an EXIF
    rotation is applied. 16-bit grey keeps its 16 bits.

    Raises:
        DataError: the file cannot be read as an image, or holds floats outside [0, 1].
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    if image.mode.startswith("I"):
        pixels = np.asarray(image, dtype=np.float32) / MAX_16_BIT
    elif image.mode == "F":
        pixels = np.asarray(image, dtype=np.float32)
    else:
        pixels = np.asarray(image.convert("L"), dtype=np.float32) / GREY_LEVELS
    if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise DataError(f"{path} has pixel values outside [0, 1] ({image.mode} image): rescale it first")
    return torch.from_numpy(pixels.copy())[None]


def image_files(folder: str | Path) -> list[Path]:
    """The image files below ``folder``, by extension, in the order of their paths. Hidden files do not count.

    Raises:
        DataError: no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder.absolute()}; set data.root to a folder of images, or data=bundled")
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file() and not p.name.startswith(".")
    )
    if not files:
        raise DataError(f"no image in {folder.absolute()} (looked for {', '.join(sorted(EXTENSIONS))})")
    return files


def centre_crop(image: Tensor, size: int | None) -> Tensor:
    """The central ``size`` × ``size`` pixels of an image (…, H, W); a side that is shorter stays whole. None: no crop."""
    if size is None:
        return image
    height, width = image.shape[-2:]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return image[..., top : top + size, left : left + size]
