"""Files by key in a folder that any number of processes use at once."""

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

from invsmooth.cache.locks import locked
from invsmooth.core.files import write_bytes

log = logging.getLogger(__name__)

HASH_BYTES = hashlib.sha256().digest_size


class Store:
    """Keeps bytes by (kind, key). What is found is what was put: a file begins with a hash of its place and of the rest, is
    written under another name and renamed, and is dropped when it does not fit its hash.

    Args:
        folder: made when something is put; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def path(self, kind: str, key: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / key[:2] / key

    def has(self, kind: str, key: str) -> bool:
        return self.folder is not None and self.path(kind, key).is_file()

    def get(self, kind: str, key: str) -> bytes | None:
        """What was put, or None. Whatever else is in its place counts as none, with a warning."""
        if self.folder is None:
            return None
        path = self.path(kind, key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:  # a folder, a link to itself, a file that may not be read
            self.distrust(kind, key, f"cannot be read: {error.strerror}")
            return None
        if digest(kind, key, content[HASH_BYTES:]) == content[:HASH_BYTES]:
            return content[HASH_BYTES:]
        self.distrust(kind, key, "its content does not fit its hash")
        return None

    def distrust(self, kind: str, key: str, why: str) -> None:
        """Drop an entry that is not what was put, and say so."""
        log.warning("%s is damaged (%s): it is computed again", self.path(kind, key), why)
        with contextlib.suppress(OSError):  # what cannot be removed here is replaced, or is an error then
            remove(self.path(kind, key))

    def put(self, kind: str, key: str, payload: bytes) -> None:
        """Keep ``payload``, all or nothing, instead of what is there. Raises OSError: the disk is full, or cannot be
        written."""
        if self.folder is not None:
            path = self.path(kind, key)
            make_way(path, self.folder)
            write_bytes(path, digest(kind, key, payload) + payload)

    @contextlib.contextmanager
    def once(self, kind: str, key: str) -> Iterator[None]:
        """While one process is in this block, others that want the same key wait before it."""
        if self.folder is None:
            yield
            return
        path = self.folder / "locks" / f"{kind}-{key}"
        make_way(path, self.folder)
        with locked(path, f"the same {kind}"):
            yield
            if self.has(kind, key):  # who still waits for this lock, or makes it anew, finds the result
                with contextlib.suppress(OSError):  # some systems remove no open file
                    path.unlink()


def digest(kind: str, key: str, payload: bytes) -> bytes:
    """With kind and key in it, an entry is damaged in the place of another."""
    return hashlib.sha256(f"{kind} {key}\n".encode() + payload).digest()


def make_way(path: Path, root: Path) -> None:
    """Make the folder of a file below ``root``, and remove what is in its way: folders in the place of the file, files in
    the place of folders."""
    for above in (p for p in reversed(path.parents) if p.is_relative_to(root) and p != root):
        if os.path.lexists(above) and not above.is_dir():
            with contextlib.suppress(
                IsADirectoryError, PermissionError
            ):  # another process has made the folder meanwhile
                above.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to), or a folder with all in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Several files as one, by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    """Raises an error of zipfile's: it was not packed like this."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
