"""Inpainting: some pixels are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from invsmooth.core.parameters import Count, check_parameters
from invsmooth.core.rng import generator_for
from invsmooth.operators.base import LinearOperator
from invsmooth.operators.matrices import MatrixFile, read_matrix


class Inpainting(LinearOperator):
    """A x = x on measured pixels, 0 on the others: A A = A = A^T. y has the shape of x, (B, C, H, W); all channels of a
    pixel are measured, or none. The noise b is in all of y; A^T takes it away from the pixels that are not measured.

    Args:
        ratio: share of the measured pixels, in (0, 1]: round(ratio · H · W) random ones, which (seed, H, W) determines.
        seed: of these.
        mask: the measured pixels in place of random ones, for images of this size alone: an array (H, W), true or not 0
            where measured, or the path of a .npy or .mat file. ``ratio`` has to be its share, to 1 %.
    Raises: ValueError: ratio outside (0, 1], a mask of another share, or, in ``A``, an image of another size."""

    name = "inpainting"
    hashed = ("seed",)
    measured: Tensor | None

    def __init__(self, ratio: float = 0.5, seed: int = 0, mask: np.ndarray | Tensor | MatrixFile | None = None) -> None:
        super().__init__()
        check_parameters(Inpainting, {"ratio": ratio})
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} is not in (0, 1]; write ratio=0.5 for half of the pixels")
        self.ratio, self.seed, self.mask = float(ratio), seed, mask
        given = None if mask is None else read_mask(mask)
        if given is not None and abs(float(given.mean()) - ratio) > 0.01:
            raise ValueError(
                f"the mask measures {float(given.mean()):.4g} of the pixels; give that as ratio, not {ratio}"
            )
        self.register_buffer("measured", given, persistent=False)
        self.made: dict[tuple[int, int], Tensor] = {}

    def A(self, x: Tensor) -> Tensor:
        return x * self.mask_of(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y * self.mask_of(y)

    def norm(self) -> float:
        return 1.0

    def mask_of(self, x: Tensor) -> Tensor:
        """(H, W), 1 where measured."""
        size = (x.shape[-2], x.shape[-1])
        if self.measured is not None:
            if self.measured.shape != size:
                raise ValueError(
                    f"the mask is of {tuple(self.measured.shape)} pixels, the image of {size}: set data.crop and "
                    "task.patch_size"
                )
            return self.measured.to(x)
        if size not in self.made:
            self.made[size] = random_mask(*size, self.ratio, self.seed)
        self.made[size] = self.made[size].to(x)
        return self.made[size]


def random_mask(height: Count, width: Count, ratio: float, seed: int) -> Tensor:
    order = generator_for(seed, "mask", height, width).permutation(height * width)
    return torch.from_numpy(order < max(1, round(ratio * height * width))).view(height, width).float()


def read_mask(mask: np.ndarray | Tensor | str | Path) -> Tensor:
    found = read_matrix(mask, "operator.mask") if isinstance(mask, str | Path) else torch.as_tensor(mask)
    if found.ndim != 2 or not bool((found != 0).any()):
        raise ValueError(
            f"the mask has shape {tuple(found.shape)}; an array (H, W) with some measured pixels is expected"
        )
    return (found != 0).float()
