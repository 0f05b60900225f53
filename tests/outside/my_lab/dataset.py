"""Images that are computed: waves of several directions."""

from typing import ClassVar

import numpy as np


class Waves:
    """Plane waves.

    Args:
        size: side of an image in pixels.
        count: images for each of training, validation and test.
    """

    name: ClassVar[str] = "waves"

    def __init__(self, size: int = 64, count: int = 2) -> None:
        self.size, self.count = size, count

    def files(self, split: str) -> dict[str, np.ndarray]:
        """Images by name, (H, W) in [0, 1]. No image is in two splits."""
        first = {"train": 0, "val": self.count, "test": 2 * self.count}[split]
        down, right = np.mgrid[: self.size, : self.size] / 8
        angles = {k: 0.7 * k for k in range(first, first + self.count)}
        return {f"wave{k}": 0.5 + 0.4 * np.sin(np.cos(a) * down + np.sin(a) * right) for k, a in angles.items()}
