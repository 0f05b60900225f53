"""PPM files of more than 8 bits, of which Pillow keeps 8."""

from __future__ import annotations

import numpy as np
from PIL import Image

from invsmooth.core.units import GREY_LEVELS


def largest(image: Image.Image) -> int:
    """The number that is white in a PPM file."""
    args = image.tile[0].args  # type: ignore[attr-defined]
    return int(args[1]) if image.tile[0].codec_name.startswith("ppm") else int(GREY_LEVELS)  # type: ignore[attr-defined]


def binary_ppm(image: Image.Image, most: int) -> np.ndarray:
    tile = image.tile[0]  # type: ignore[attr-defined]
    if tile.codec_name != "ppm":
        raise ValueError("colour of 16 bits written as text is not read")
    image.fp.seek(tile.offset)  # type: ignore[attr-defined]
    n = 3 * image.width * image.height
    numbers = image.fp.read(2 * n)  # type: ignore[attr-defined]
    if len(numbers) != 2 * n:
        raise ValueError("it is cut off")
    return np.frombuffer(numbers, ">u2").reshape(image.height, image.width, 3).astype(np.float32) / np.float32(most)
