"""Data sets as Lightning datamodules."""

from invsmooth.data.arrays import ImageArrays, in_memory, load
from invsmooth.data.decode import read_image
from invsmooth.data.files import image_files
from invsmooth.data.obtain import default_root
from invsmooth.data.sets import DataSet, known_sets
from invsmooth.data.splits import find_splits

__all__ = ["DataSet", "ImageArrays", "default_root", "find_splits", "image_files", "in_memory", "known_sets", "load",
           "read_image"]  # fmt: skip
