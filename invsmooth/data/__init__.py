"""Data sets as Lightning datamodules. Each name is imported on its first use: listing data sets needs no torch."""

from typing import TYPE_CHECKING

from invsmooth.core.late import late

if TYPE_CHECKING:
    from invsmooth.data.arrays import ImageArrays, in_memory, load
    from invsmooth.data.decode import read_image
    from invsmooth.data.files import image_files
    from invsmooth.data.obtain import default_root
    from invsmooth.data.sets import DataSet, known_sets
    from invsmooth.data.splits import find_splits

MODULES = {
    "ImageArrays": "arrays", "in_memory": "arrays", "load": "arrays", "read_image": "decode", "image_files": "files",
    "default_root": "obtain", "DataSet": "sets", "known_sets": "sets", "find_splits": "splits",
}  # fmt: skip

__all__ = ["DataSet", "ImageArrays", "default_root", "find_splits", "image_files", "in_memory", "known_sets", "load",
           "read_image"]  # fmt: skip


__getattr__ = late(__name__, MODULES)


def __dir__() -> list[str]:
    return __all__
