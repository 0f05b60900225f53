"""Files by key in a folder that any number of processes use at once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from invsmooth.atomic import write_bytes
from invsmooth.cache.locks import locked

log = logging.getLogger(__name__)

HASH_BYTES = hashlib.sha256().digest_size


class Store:
    """Keeps bytes by (kind, key). What is found is what was put: a file begins with the hash of the rest, is written under
    another name and renamed, and is dropped when it does not fit its hash.

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
        """What was put, or None. A damaged file counts as none, and is removed."""
        if self.folder is None:
            return None
        path = self.path(kind, key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content[HASH_BYTES:]).digest() == content[:HASH_BYTES]:
            return content[HASH_BYTES:]
        log.warning("%s is damaged (its content does not fit its hash): it is computed again", path)
        path.unlink(missing_ok=True)
        return None

    def put(self, kind: str, key: str, payload: bytes) -> None:
        """Keep ``payload``, all or nothing. Raises OSError: the disk is full, or cannot be written."""
        if self.folder is not None:
            path = self.path(kind, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, hashlib.sha256(payload).digest() + payload)

    @contextlib.contextmanager
    def once(self, kind: str, key: str) -> Iterator[None]:
        """While one process is in this block, others that want the same key wait before it."""
        if self.folder is None:
            yield
            return
        path = self.folder / "locks" / f"{kind}-{key}"
        with locked(path, f"the same {kind}"):
            yield
            if self.has(kind, key):  # who still waits for this lock, or makes it anew, finds the result
                with contextlib.suppress(OSError):  # some systems remove no open file
                    path.unlink()


def pack(files: Mapping[str, bytes]) -> bytes:
    """Several files as one, by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unpack(packed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
