"""Write files all or nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file that becomes ``path`` at the end of the block. If the block fails, ``path``
    is as before. Any number of processes may write ``path`` at once."""
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    with replaced(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """``text`` and a final line end, in UTF-8."""
    write_bytes(path, (text + "\n").encode())


def missing_folders(folder: Path) -> list[Path]:
    """``folder`` and those above it that do not exist, the innermost first."""
    found = []
    for one in (folder.absolute(), *folder.absolute().parents):
        if os.path.lexists(one):
            break
        found.append(one)
    return found


def try_to_write(folder: Path) -> None:
    """Make ``folder`` and write a file in it; remove both. Raises: OSError: it cannot be."""
    made = missing_folders(folder)
    file = folder / f".try.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file.write_bytes(b"0" * 4096)
        except FileNotFoundError:  # another process, which tries it too, removed the folder in between
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"0" * 4096)
        finally:
            file.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # not empty: another process writes there
            for one in made:
                one.rmdir()
