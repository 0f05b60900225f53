"""Images as files in a folder, as members of a zip archive (never unpacked), or as arrays."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from invsmooth.core.errors import DataError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})


@dataclass(frozen=True)
class ImageFile:
    """An image file on the disk, a member of a zip archive, or an array."""

    path: Path  # of the file or of the archive; of an array the name of the image
    member: str | None = None  # name within the archive; None for a file of its own
    pixels: np.ndarray | None = field(default=None, compare=False, repr=False)  # shape (H, W) or (H, W, 3)
    sha256: str = ""  # of the array's pixels and shape

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def open(self) -> IO[bytes]:
        """The bytes of a file or member, seekable. Raises: OSError, zipfile.BadZipFile: it cannot be read."""
        if self.member is None:
            return self.path.open("rb")
        return io.BytesIO(archive(self.path, self.path.stat().st_mtime_ns).read(self.member))


Files = dict[str, ImageFile]  # by the name that the rows show


def as_image_files(images: Mapping[str, Any], where: str) -> Files:
    """Image files, paths and arrays as image files. Raises DataError: an array is no image."""
    files: Files = {}
    for name, image in images.items():
        if isinstance(image, ImageFile):
            files[name] = image
        elif isinstance(image, str | Path):
            files[name] = ImageFile(Path(image))
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
            files[name] = ImageFile(Path(name), None, pixels, digest(pixels))
    return files


def channels_last(pixels: np.ndarray) -> np.ndarray:
    """An image (H, W), (1, H, W), (H, W, 3) or (3, H, W) as (H, W) or (H, W, 3); anything else flat."""
    if pixels.ndim == 3 and len(pixels) == 1:
        return pixels[0]
    if pixels.ndim == 3 and pixels.shape[-1] != 3 and len(pixels) == 3:
        return np.moveaxis(pixels, 0, -1)
    return pixels if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3) else pixels.reshape(-1)


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


@lru_cache(maxsize=4)
def archive(path: Path, changed: int) -> zipfile.ZipFile:
    """An open archive, kept open so that its directory is read once. Another date of change opens it again."""
    return zipfile.ZipFile(path)


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def image_files(root: str | Path) -> Files:
    """The image files below a folder or in a zip archive, by their path below it and sorted, but no hidden ones.
    Raises: DataError: no such folder or archive, no image in it, or an archive that cannot be trusted."""
    root = Path(root)
    if is_zip(root):
        found = {name: ImageFile(root, name) for name in members(root)}
    elif root.is_dir():
        found = {p.relative_to(root).as_posix(): ImageFile(p) for p in root.rglob("*") if p.is_file()}
    else:
        raise DataError(f"there is no folder {root.absolute()}; set data.root to a folder of images, or data=bundled")
    if images := {name: found[name] for name in sorted(found) if is_image(name)}:
        return images
    raise DataError(f"no image in {root.absolute()} (looked for {', '.join(sorted(EXTENSIONS))})")


def is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in EXTENSIONS and not hidden


def members(path: Path) -> list[str]:
    """The names of the files in a zip archive.
    Raises: DataError: it is no readable zip archive, or has members that point out of it: such an
        archive is not to be trusted, though nothing is unpacked."""
    try:
        with zipfile.ZipFile(path) as opened:
            infos = opened.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} cannot be read as a zip archive: {error}") from error
    for info in infos:
        member = PurePosixPath(info.filename.replace("\\", "/"))
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if is_link or member.is_absolute() or ".." in member.parts or (member.parts and ":" in member.parts[0]):
            what = "a link" if is_link else "a path out of the archive"
            raise DataError(f"{path} is not used: its member {info.filename!r} is {what}")
    return [info.filename for info in infos if not info.is_dir()]


def check_archive(path: Path) -> None:
    """Raises: DataError: the archive is damaged (every member is read and its checksum compared) or cannot be trusted."""
    members(path)
    try:
        with zipfile.ZipFile(path) as opened:
            damaged = opened.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{path} is a damaged zip archive: {error}") from error
    if damaged is not None:
        raise DataError(f"{path} is a damaged zip archive: {damaged} does not match its checksum")
