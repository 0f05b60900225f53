"""Zip archives of images. Nothing is unpacked to the disk, and nothing large is unpacked before its sizes are known."""

from __future__ import annotations

import io
import lzma
import stat
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from invsmooth.core.console import printable
from invsmooth.core.errors import DataError

SMALL = 2**24
"""Bytes. A member that is larger must not be more than :data:`MOST_EXPANSION` times its compressed size."""
MOST_EXPANSION = 100  # image files hardly shrink: they are compressed themselves, or of pixels with noise
UNREADABLE = (
    OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What zipfile raises of damage, of a method that Python does not have, and of encryption."""


@lru_cache(maxsize=4)
def archive(path: Path, changed: int) -> zipfile.ZipFile:
    """An open archive, kept open so that its directory is read once. Another date of change opens it again."""
    return zipfile.ZipFile(path)


def open_member(path: Path, member: str, header: bool) -> IO[bytes]:
    """The bytes of a member, seekable; ``header``: unpacked only as far as they are read.
    Raises: what zipfile raises. DataError: the member grows too much, or cannot be unpacked."""
    opened = archive(path, path.stat().st_mtime_ns)
    info = opened.getinfo(member)
    where = f"{printable(path)}/{printable(member)}"
    if reason := unusable(info):
        raise DataError(f"{where} {reason}")
    # A TIFF file is read back and forth, which would unpack it again and again.
    if header and not member.lower().endswith((".tif", ".tiff")):
        return opened.open(member)
    return io.BytesIO(opened.read(member))


def unusable(info: zipfile.ZipInfo) -> str | None:
    """Why a member cannot be read, by the archive's directory."""
    if info.flag_bits & 1:
        return "is encrypted: unpack the archive, and give the folder"
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    if info.compress_type not in known:
        method = getattr(zipfile, "compressor_names", {}).get(info.compress_type, str(info.compress_type))
        return f"is compressed by a method that is not read ({method}): unpack the archive, and give the folder"
    if info.file_size > max(SMALL, MOST_EXPANSION * info.compress_size):
        return f"grows from {info.compress_size} to {info.file_size} bytes: no image file does"
    return None


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def members(path: Path) -> dict[str, str]:
    """The names of the files in a zip archive with slashes (some archives have backslashes), and what each is called there.
    Raises: DataError: it is no readable zip archive, two members have one name, or members point out of it: such an
        archive is not to be trusted, though nothing is unpacked."""
    try:
        with zipfile.ZipFile(path) as opened:
            infos = opened.infolist()
    except UNREADABLE as error:
        raise DataError(f"{printable(path)} cannot be read as a zip archive: {error}") from error
    found: dict[str, str] = {}
    for info in infos:
        name = info.filename.replace("\\", "/")
        member = PurePosixPath(name)
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        if is_link or member.is_absolute() or ".." in member.parts or (member.parts and ":" in member.parts[0]):
            what = "a link" if is_link else "a path out of the archive"
            raise DataError(f"{printable(path)} is not used: its member {info.filename!r} is {what}")
        if info.is_dir() or name.endswith("/"):
            continue
        if str(member) in found:
            raise DataError(f"{printable(path)} has two members of the name {str(member)!r}: rename or remove one")
        found[str(member)] = info.filename
    return found


def check_archive(path: Path) -> None:
    """Raises: DataError: the archive is damaged (every member is read and its checksum compared) or cannot be trusted."""
    members(path)
    try:
        with zipfile.ZipFile(path) as opened:
            damaged = opened.testzip()
    except UNREADABLE as error:
        raise DataError(f"{printable(path)} is a damaged zip archive: {error}") from error
    if damaged is not None:
        raise DataError(f"{printable(path)} is a damaged zip archive: {damaged} does not match its checksum")
