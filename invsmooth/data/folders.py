"""The files below a folder: links are followed, but never in a circle."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from invsmooth.core.console import printable
from invsmooth.core.errors import DataError


def files_below(root: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """All regular files below ``root`` whose path below it is ``wanted``, each folder once: under its own path rather than
    under that of a link.
    Raises: DataError: links that lead nowhere, wanted names that are no files (pipes, …), or an unreadable folder."""
    files: list[Path] = []
    wrong: list[str] = []
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            state = folder.stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            raise DataError(f"the folder {printable(folder)} cannot be read: {error.strerror}") from error
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            # Of a link the path answers: an entry raises where links lead in a circle.
            item = path if entry.is_symlink() else entry
            if item.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif wanted(path.relative_to(root).as_posix()) and item.is_file():
                files.append(path)
            elif entry.is_symlink() and not path.exists() and (wanted(entry.name) or not path.suffix):
                wrong.append(f"{printable(path)} is a link to {printable(os.readlink(path))}, which leads nowhere")
            elif wanted(path.relative_to(root).as_posix()):
                wrong.append(f"{printable(path)} is no regular file")
    if wrong:
        raise DataError(f"{len(wrong)} files cannot be used:\n  " + "\n  ".join(wrong))
    return files
