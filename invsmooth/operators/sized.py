"""Operators whose measurement does not tell the size of the image."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor
from torch.nn import functional as F

from invsmooth.operators.base import LinearOperator


class SizedOperator(LinearOperator):
    """Images are zero-padded at the right and the bottom to a multiple of ``block``, only where needed. The adjoint crops
    the pad, so that it belongs neither to x nor to anything added to x.

    It crops to ``image_size`` where that was given (:meth:`for_image_size`), and else to the size of the last image that
    :meth:`A` saw. Give the size wherever images of several sizes are at work at once."""

    block: int  # pixels
    image_size: tuple[int, int] | None = None
    _last_size: tuple[int, int] | None = None

    def for_image_size(self, height: int, width: int) -> Self:
        """The same operator (sharing its buffers) for images of one size only: the adjoint then crops to exactly that."""
        fixed = copy.copy(self)
        fixed.image_size = (height, width)
        return fixed

    def uncropped(self) -> Self:
        """The same operator (sharing its buffers) on images of whole blocks, the pad included: networks that were
        published as working on the padded image use it inside."""
        whole = copy.copy(self)
        whole.image_size = whole._last_size = None
        return whole

    def padded(self, x: Tensor) -> Tensor:
        """Images of whole blocks. Their size is kept for :meth:`crop`.
        Raises: ValueError: another size than that of :meth:`for_image_size`."""
        size = (x.shape[-2], x.shape[-1])
        if self.image_size is not None and size != self.image_size:
            raise ValueError(f"image of size {size} given to an operator made for {self.image_size}")
        self._last_size = size
        pad_bottom, pad_right = (-size[0] % self.block, -size[1] % self.block)
        return F.pad(x, (0, pad_right, 0, pad_bottom)) if pad_bottom or pad_right else x

    def crop(self, x: Tensor) -> Tensor:
        """Take the pad off an image of whole blocks; see the class about which size that leaves."""
        size = self.image_size or self._last_size
        if size is None or any(-(-s // self.block) * self.block != p for s, p in zip(size, x.shape[-2:], strict=True)):
            return x
        return x[..., : size[0], : size[1]]
