"""Reconstructions that are needed more than once: in memory, or many in a temporary file."""

from __future__ import annotations

import os
import tempfile
import weakref
from contextlib import ExitStack
from typing import BinaryIO

import torch
from torch import Tensor

from invsmooth.core.errors import ScratchError

KEPT_BYTES = {"cpu": 2**25, "cuda": 2**31}  # What is kept in the memory of a device; more goes to the file


class DrawBuffer:
    """Room for N reconstructions of each of B images, of which ``filled`` are there; ``like``: for
    dtype and device. The file has no name and is gone when this or the process is."""

    def __init__(self, n_images: int, n_draws: int, image_shape: torch.Size, like: Tensor) -> None:
        self.n_images, self.n_draws, self.image_shape, self.like = n_images, n_draws, image_shape, like
        self.filled = 0
        self.tensor: Tensor | None = None
        self.file: BinaryIO | None = None

    def reserve(self) -> None:
        """Take the whole memory or disk space, once. Raises: ScratchError: the disk has no room."""
        if self.tensor is not None or self.file is not None:
            return
        if self.file_bytes == 0:
            self.tensor = self.like.new_empty(self.n_images, self.n_draws, *self.image_shape)
        else:
            self.file = temporary_file(self.file_bytes)
            weakref.finalize(self, self.file.close)

    @property
    def file_bytes(self) -> int:
        """Length of the file; 0 where none is needed."""
        count = self.n_images * self.n_draws * self.image_shape.numel()
        return 0 if fits_memory(count, self.like) else count * self.like.element_size()

    def append(self, x_hat: Tensor) -> None:
        """Keep the next draws of every image, shape (B, k, C, H, W)."""
        x_hat = x_hat.to(self.like.dtype)
        first, last = self.filled, self.filled + x_hat.shape[1]
        if self.tensor is not None:
            self.tensor[:, first:last] = x_hat
        if self.file is not None:
            for i, own in enumerate(x_hat.cpu()):
                self.file.seek(self.offset(i, first))
                self.file.write(own.contiguous().view(torch.uint8).numpy())
        self.filled = last

    def read(self, images: slice, first: int, last: int) -> Tensor:
        """The draws ``first`` … ``last - 1`` of ``images``, shape (B', last - first, C, H, W)."""
        if self.tensor is not None:
            return self.tensor[images, first:last]
        assert self.file is not None
        found = torch.empty(images.stop - images.start, last - first, *self.image_shape, dtype=self.like.dtype)
        for i, own in enumerate(found, images.start):
            self.file.seek(self.offset(i, first))
            read = self.file.readinto(own.view(torch.uint8).numpy())  # type: ignore[attr-defined]
            assert read == own.numel() * own.element_size()
        return found.to(self.like.device)

    def offset(self, i: int, draw: int) -> int:
        return (i * self.n_draws + draw) * self.image_shape.numel() * self.like.element_size()


def fits_memory(count: int, like: Tensor) -> bool:
    """Whether so many numbers are kept in memory."""
    return count * like.element_size() <= KEPT_BYTES.get(like.device.type, KEPT_BYTES["cpu"])


def folder() -> str:
    """For large temporary files: TMPDIR, else /var/tmp, on a disk where /tmp may be memory."""
    return os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())


def temporary_file(size: int) -> BinaryIO:
    """A file of ``size`` bytes, which the disk has."""
    with ExitStack() as undo:
        try:
            file = undo.enter_context(tempfile.TemporaryFile(dir=folder()))
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            full = f"the draws of an image (or batch), {size / 2**30:.1f} GiB, have no room in {folder()}"
            remedy = "Set TMPDIR to a folder on a larger disk, or take fewer n_samples"
            raise ScratchError(f"{full}: {error.strerror}. {remedy}") from error
        undo.pop_all()
    return file
