"""Images as files in a folder, as members of a zip archive (never unpacked), or as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from invsmooth.core.console import printable
from invsmooth.core.errors import DataError
from invsmooth.data.archives import archive, members, open_member
from invsmooth.data.archives import is_zip as is_zip
from invsmooth.data.folders import files_below

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})


@dataclass(frozen=True)
class ImageFile:
    """An image file on the disk, a member of a zip archive, or an array."""

    path: Path  # of the file or of the archive; of an array the name of the image
    member: str | None = None  # name within the archive; None for a file of its own
    pixels: np.ndarray | None = field(default=None, compare=False, repr=False)  # shape (H, W) or (H, W, 3)
    sha256: str = ""  # of the array's pixels and shape

    def __str__(self) -> str:
        return printable(self.path if self.member is None else f"{self.path}/{self.member}", 10_000)

    def open(self, header: bool = False) -> IO[bytes]:
        """The bytes of a file or member, seekable. ``header``: of a member only those that are asked for are unpacked.
        Raises: OSError, and what zipfile raises: it cannot be read. DataError: a member that is not to be unpacked."""
        return self.path.open("rb") if self.member is None else open_member(self.path, self.member, header)

    def size(self) -> int:
        """In bytes, as stored: compressed in an archive, and 0 of an array."""
        if self.pixels is not None:
            return 0
        state = self.path.stat()
        if self.member is None:
            return state.st_size
        return archive(self.path, state.st_mtime_ns).getinfo(self.member).compress_size


Files = dict[str, ImageFile]  # by the name that the rows show


def as_image_files(images: Mapping[str, Any], where: str) -> Files:
    """Image files, paths and arrays as image files. Raises DataError: an array is no image, or two have one name."""
    files: list[tuple[str, ImageFile]] = []
    for name, image in images.items():
        if isinstance(image, ImageFile):
            files.append((name, image))
        elif isinstance(image, str | Path):
            files.append((name, ImageFile(Path(image))))
        else:
            pixels = np.asarray(image)
            pixels = channels_last(pixels)
            if pixels.ndim not in (2, 3) or not (pixels.dtype == np.uint8 or np.issubdtype(pixels.dtype, np.floating)):
                raise DataError(
                    f"{where}: {name} is a {type(image).__name__} of shape {pixels.shape} and type {pixels.dtype}; "
                    "a data set gives ImageFile, paths, or arrays (H, W), (H, W, 3) or (3, H, W) of uint8 or of "
                    "floats in [0, 1]"
                )
            pixels = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
            files.append((name, ImageFile(Path(name), None, pixels, digest(pixels))))
    return named(files, where)


def channels_last(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W), (1, H, W), (H, W, 3) or (3, H, W) as (H, W) or (H, W, 3); anything else flat."""
    if pixels.ndim == 3 and len(pixels) == 1:
        return pixels[0]
    if pixels.ndim == 3 and pixels.shape[-1] != 3 and len(pixels) == 3:
        return np.moveaxis(pixels, 0, -1)
    return pixels if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3) else pixels.reshape(-1)


def digest(pixels: np.ndarray) -> str:
    found = hashlib.sha256(repr(pixels.shape).encode())
    found.update(np.ascontiguousarray(pixels).data)  # not a copy
    return found.hexdigest()


def image_files(root: str | Path) -> Files:
    """The image files below a folder or in a zip archive, by their names (:func:`named`) below it and sorted, but no hidden
    ones. Links are followed.
    Raises: DataError: no such folder or archive, no image in it, broken links, two files of one name, or an archive that
        cannot be trusted."""
    root = Path(root)
    if is_zip(root):
        found = [(name, ImageFile(root, member)) for name, member in members(root).items()]
    elif root.is_dir():
        found = [(path.relative_to(root).as_posix(), ImageFile(path)) for path in files_below(root, is_image)]
    else:
        where = printable(root.absolute())
        raise DataError(f"there is no folder {where}; set data.root to a folder of images, or data=bundled")
    if images := named(((name, file) for name, file in found if is_image(name)), printable(root.absolute())):
        return {name: images[name] for name in sorted(images)}
    looked = ", ".join(sorted(EXTENSIONS))
    raise DataError(f"no image in {printable(root.absolute())} (looked for {looked})")


def named(files: Iterable[tuple[str, ImageFile]], where: str) -> Files:
    """Files by names that print on one line, in UTF-8: other characters and bytes as Python writes them (\\n, \\xff). Every
    log, table, page and file of a run may then show them. Raises: DataError: two get the same name."""
    found: Files = {}
    for raw, file in files:
        name = printable(raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"), len(raw) * 4)
        if name in found:
            raise DataError(f"{where} has two images of the name {name!r}: rename one")
        found[name] = file
    return found


def is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in EXTENSIONS and not hidden
