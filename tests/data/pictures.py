"""Small image files for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

GREY = np.arange(12 * 10, dtype=np.uint8).reshape(12, 10) * 2


def save(path: Path, array: np.ndarray = GREY, mode: str | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def noise(seed: int, height: int = 16, width: int = 16) -> np.ndarray:
    """Grey levels at random: no two images alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
