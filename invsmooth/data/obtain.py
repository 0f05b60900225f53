"""Get the files of a published data set, from a folder or from the internet."""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from invsmooth.core.errors import DataError
from invsmooth.data.fetch import Patience, fetch
from invsmooth.data.files import Files
from invsmooth.data.locate import find
from invsmooth.data.published import Published


def default_root() -> Path:
    """The folder of downloaded data sets and prepared images: ``INVSMOOTH_DATA``, or the user's cache folder."""
    return Path(os.environ.get("INVSMOOTH_DATA") or pooch.os_cache("invsmooth"))


def obtain(
    data: Published, root: str | Path | None, mirror: str | None = None, patience: Patience | None = None
) -> Files:
    """The files of ``data``, by name. With a ``root`` they have to be there: a wrong folder is not
    filled. Without one, :func:`default_root` is used, and missing files are downloaded to it.
    Raises: DataError: they are not available; the message says where they were looked for and what to do."""
    if root is not None:
        if not Path(root).exists():
            raise DataError(f"data.root={root}: there is no such folder or zip archive (looked for {data.name} in it)")
        if (images := find(data, Path(root))) is not None:
            return images
        n_bytes = sum(size for _, size in data.checksums.values())
        source = (f"{n_bytes / 1e6:.0f} MB from " if n_bytes else "") + data.url
        remedy = data.how or (
            f"Fetch it there: python -m invsmooth.data prepare {data.name} --root {root} ({source}). "
            "Or leave data.root out, and it is fetched to the cache folder"
        )
        raise DataError(f"{absent(data, Path(root))}. {remedy}. Or use data=bundled, which needs no download")
    return find_or_fetch(data, default_root(), mirror, patience)


def find_or_fetch(data: Published, root: Path, mirror: str | None = None, patience: Patience | None = None) -> Files:
    """The files of ``data`` in ``root``; missing ones are downloaded. Raises: DataError."""
    try:
        if (images := find(data, root)) is not None:
            return images
    except DataError:  # incomplete, as an interrupted download leaves it
        if not data.url:
            raise
    here = "Give a folder that has it, data.root=FOLDER, or use data=bundled, which needs no download"
    if not data.url:
        raise DataError(f"{absent(data, root)}. {data.how}. {here}")
    try:
        fetch(data, root, mirror, patience)
    except DataError as error:
        raise DataError(f"{absent(data, root)}, and the download failed: {error}. {here}") from error
    found = find(data, root)
    assert found is not None
    return found


def absent(data: Published, root: Path) -> str:
    where = f"{', '.join(data.folders)}, in folders and zip archives"
    return f"{data.name} is not in {root.absolute()} (looked for {where})"
