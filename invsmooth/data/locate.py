"""Find a published data set below a folder, in any of its usual layouts, extracted or zipped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from invsmooth.core.errors import DataError
from invsmooth.data.archives import is_zip, members
from invsmooth.data.files import Files, ImageFile, image_files, is_image
from invsmooth.data.published import Published


def find(data: Published, root: Path) -> Files | None:
    """The images of ``data`` in ``root``, a folder or a zip archive, by their published names; None: it is not there. Of
    several places, the first that has all images. Raises: DataError: images are missing."""
    error = None
    for place, images in places(data, root):
        absent = [name for name in data.files if name not in images]
        if images and not absent:
            return images
        if images and error is None:
            error = DataError(
                f"{data.name} in {place.absolute()} is not complete: {len(absent)} of {len(data.files)} files are missing "
                f"({', '.join(absent[:5])}{', …' if len(absent) > 5 else ''})"
            )
    if error:
        raise error
    return None


def places(data: Published, root: Path) -> Iterator[tuple[Path, Files]]:
    if is_zip(root):
        yield root, in_archive(data, root, whole=True)
        return
    checkouts = sorted(root.glob(f"{data.repository}*/")) if data.repository else []
    for folder in (root, *(base / f for base in (root, *checkouts) for f in data.folders)):
        if folder.is_dir():
            yield folder, in_folder(data, folder, is_root=folder == root)
    names = {part.lower() for f in data.folders for part in PurePosixPath(f).parts}
    for archive in sorted((*root.glob("*.zip"), *root.glob(f"{data.name}/*.zip"))):
        stem = archive.stem.lower()
        if stem in names or (data.repository and stem.startswith(data.repository.lower())):
            yield archive, in_archive(data, archive, whole=stem in names)


def in_folder(data: Published, folder: Path, is_root: bool) -> Files:
    if data.files:
        return {name: ImageFile(folder / name) for name in data.files if (folder / name).is_file()}
    # A folder with a sub-folder for each class. In data.root only names of ImageNet classes count.
    if not any(p.is_dir() and (not is_root or re.fullmatch(r"n\d{8}", p.name)) for p in folder.iterdir()):
        return {}
    return {name: file for name, file in image_files(folder).items() if name.count("/") == 1}


def in_archive(data: Published, archive: Path, whole: bool) -> Files:
    """The files of ``data`` in a zip archive, below one of its folders or, with ``whole``, at the top."""
    ends = {PurePosixPath(f).name for f in data.folders}
    by_folder: dict[str, Files] = {}
    for name, member in members(archive).items():
        parts = PurePosixPath(name).parts
        cuts = [k + 1 for k, part in enumerate(parts[:-1]) if part in ends]
        if cuts or whole:
            cut = cuts[-1] if cuts else 0
            by_folder.setdefault("/".join(parts[:cut]), {})["/".join(parts[cut:])] = ImageFile(archive, member)
    return max((wanted(data, images) for images in by_folder.values()), key=len, default={})


def wanted(data: Published, images: Mapping[str, ImageFile]) -> Files:
    if data.files:
        return {name: images[name] for name in data.files if name in images}
    return {name: images[name] for name in sorted(images) if name.count("/") == 1 and is_image(name)}
