"""Files by key in a folder that many processes use at once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from invsmooth.cache.locks import acquired
from invsmooth.core.files import write_bytes

log = logging.getLogger(__name__)

HASH_BYTES = hashlib.sha256().digest_size


class Store:
    """Keeps bytes by (kind, key). Writes are atomic, and reads are verified: each file starts with
    a hash of kind, key and content, and a file that does not fit its hash is dropped. The folder is
    made by the first write; None stores nothing. A ~ at its start is the home folder."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else Path(os.path.expanduser(folder))

    def path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / key[:2] / key

    def has(self, kind: str, key: str) -> bool:
        return self.folder is not None and os.path.isfile(self.path(kind, key))  # False also without permission

    def get(self, kind: str, key: str, drop: bool = True) -> bytes | None:
        """What :meth:`put` stored, or None. A damaged entry is dropped with a warning, unless not
        ``drop``: without :meth:`once`, another process may be about to replace it."""
        if self.folder is None:
            return None
        try:
            content = self.path(kind, key).read_bytes()
            if digest(kind, key, content[HASH_BYTES:]) == content[:HASH_BYTES]:
                return content[HASH_BYTES:]
            why = "its content does not fit its hash"
        except FileNotFoundError:
            return None
        except OSError as error:  # a folder, a link to itself, a file without read permission
            why = f"cannot be read: {error.strerror}"
        if drop:
            self.distrust(kind, key, why)
        return None

    def distrust(self, kind: str, key: str, why: str) -> None:
        log.warning("%s is damaged (%s): it is computed again", self.path(kind, key), why)
        with contextlib.suppress(OSError):  # then put replaces it, or raises an error
            remove(self.path(kind, key))

    def put(self, kind: str, key: str, payload: bytes) -> None:
        """Store ``payload``, replacing what is there. Raises OSError: a full or read-only disk."""
        if self.folder is None:
            return
        path, content = self.path(kind, key), digest(kind, key, payload) + payload
        try:
            write_bytes(path, content)
        except OSError:  # the first of its folder, or something is in the way
            make_way(path, self.folder)
            write_bytes(path, content)

    @contextlib.contextmanager
    def once(self, kind: str, key: str) -> Iterator[None]:
        """One process at a time is in this block, which has to end with the result stored. Look for
        it before (that takes no lock), and again within: another process may have stored it."""
        if self.folder is None:
            yield
            return
        path, what = self.path(kind, key).with_name(f"{key}.lock"), f"the same {kind}"
        try:
            lock = acquired(path, what)
        except OSError:  # something is in the way
            make_way(path, self.folder)
            lock = acquired(path, what)
        try:
            yield
            with contextlib.suppress(OSError):  # some systems cannot remove an open file
                path.unlink()  # no process needs it again: each finds the result
        finally:
            lock.release()


def digest(kind: str, key: str, payload: bytes) -> bytes:
    """With kind and key, so that an entry in the place of another counts as damaged."""
    return hashlib.sha256(f"{kind} {key}\n".encode() + payload).digest()


def make_way(path: Path, root: Path) -> None:
    """Make the folder of a file below ``root``. Remove files and folders that are in the way."""
    for above in (p for p in reversed(path.parents) if p.is_relative_to(root) and p != root):
        if os.path.lexists(above) and not above.is_dir():
            with contextlib.suppress(IsADirectoryError, PermissionError):  # another process just made the folder
                above.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link (not its target), or a folder with its content, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pack(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    """The inverse of :func:`pack`. Raises zipfile.BadZipFile: the bytes are no zip archive."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
