"""Locks between processes, on a file system that many machines may share."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """One process at a time is in this block (:func:`acquired`)."""
    lock = acquired(path, what)
    try:
        yield
    finally:
        lock.release()


def acquired(path: Path, what: str) -> FileLock:
    """The lock of one process at a time; that of a killed process is free. Without file locks nobody
    waits. The folder of the lock file is made; the log of one that waits says ``what``."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process computes %s; waiting for it", what)
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        log.warning("%s: no file locks there: two processes may compute the same thing", path.parent)
    return lock
