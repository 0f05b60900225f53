"""Data sets as Lightning datamodules."""

from invsmooth.data.bundled import bundled_splits
from invsmooth.data.datamodule import ImageDataModule, NamedImages, folder_splits
from invsmooth.data.decode import image_files, read_image

__all__ = [
    "ImageDataModule",
    "NamedImages",
    "bundled_splits",
    "folder_splits",
    "image_files",
    "read_image",
]
