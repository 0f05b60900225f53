"""Where image files are: in a folder, or inside a zip archive, which is read as it is and never unpacked."""

from __future__ import annotations

import io
import stat
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from invsmooth.core.errors import DataError

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})


@dataclass(frozen=True)
class ImageFile:
    """An image file on the disk, or a member of a zip archive.

    Attributes:
        path: of the file or of the archive.
        member: name within the archive; None for a file of its own.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    def open(self) -> IO[bytes]:
        """The file's bytes, seekable. Raises: OSError, zipfile.BadZipFile: it cannot be read."""
        if self.member is None:
            return self.path.open("rb")
        return io.BytesIO(archive(self.path, self.path.stat().st_mtime_ns).read(self.member))


@lru_cache(maxsize=4)
def archive(path: Path, changed: int) -> zipfile.ZipFile:
    """An archive that is kept open, since its directory of files would be read again for each of them.

    Args:
        path: of the archive.
        changed: when it was changed last: another date opens it anew.
    """
    return zipfile.ZipFile(path)


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def image_files(root: str | Path) -> dict[str, ImageFile]:
    """The image files below a folder or in a zip archive, by extension: ``{path below root: file}`` in the order of the
    paths. Hidden files do not count.

    Raises:
        DataError: no such folder or archive, no image in it, or an archive that cannot be trusted.
    """
    root = Path(root)
    if is_zip(root):
        found = {name: ImageFile(root, name) for name in members(root)}
    elif root.is_dir():
        found = {p.relative_to(root).as_posix(): ImageFile(p) for p in root.rglob("*") if p.is_file()}
    else:
        raise DataError(f"there is no folder {root.absolute()}; set data.root to a folder of images, or data=bundled")
    images = {name: found[name] for name in sorted(found) if is_image(name)}
    if not images:
        raise DataError(f"no image in {root.absolute()} (looked for {', '.join(sorted(EXTENSIONS))})")
    return images


def is_image(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in EXTENSIONS and not hidden


def members(path: Path) -> list[str]:
    """The names of the files in a zip archive.

    Raises: DataError: it is no readable zip archive, or has members that point out of it. Nothing is ever unpacked, but an
        archive that tries to is not what it claims to be.
    """
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
