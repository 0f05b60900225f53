"""Decoded images side by side in one array, in memory or, for large sets, in a file."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from rich.progress import track
from torch import Tensor

from invsmooth.core.errors import DataError
from invsmooth.data.archives import MOST_EXPANSION
from invsmooth.data.decode import centre_crop, is_8_bit, n_bytes, read_pixels, unit_scale
from invsmooth.data.files import Files, ImageFile, digest

log = logging.getLogger(__name__)

# Size in bytes of a set that is decoded once and kept on the disk: smaller ones take less than two seconds.
CACHED_FROM = 64 * 2**20
MOST_UNCHECKED = 2**27  # bytes of pixels that files of any size may become
VERSION = 2  # of the decoding; a higher number prepares all sets again
WINDOW = 16  # images that are decoded in parallel, and
WINDOW_BYTES = 2**26  # of their pixels together, unless one alone has more


@dataclass(frozen=True)
class ImageArrays:
    """Images in one flat array, one after the other; of each its channels, each row by row."""

    names: tuple[str, ...]  # of the images, unique
    shapes: np.ndarray  # heights and widths, shape (N, 2)
    offsets: np.ndarray  # where each image starts in pixels, shape (N,)
    pixels: np.ndarray  # uint8 levels, or float32 in [0, 1] if an image has more bits; may be a mapped file
    sha256: tuple[str, ...]  # of each image's pixels and shape: equal for equal pictures in whatever file format
    channels: int = 1  # 1: grey; 3: red, green, blue

    def __len__(self) -> int:
        return len(self.names)

    def image(self, i: int, crop: int | None = None) -> Tensor:
        """Image i, or its central ``crop`` × ``crop`` pixels, shape (channels, H, W), float32 in [0, 1]."""
        height, width = self.shapes[i]
        flat = self.pixels[self.offsets[i] : self.offsets[i] + self.channels * height * width]
        # Cut first: of a large image only the crop becomes floats.
        return torch.from_numpy(unit_scale(centre_crop(flat.reshape(self.channels, height, width), crop)))

    def without(self, sha256: Collection[str]) -> ImageArrays:
        keep = [i for i, digest in enumerate(self.sha256) if digest not in sha256]
        return replace(
            self, names=tuple(self.names[i] for i in keep), shapes=self.shapes[keep], offsets=self.offsets[keep],
            sha256=tuple(self.sha256[i] for i in keep),
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes map the file themselves: a pickle would copy every pixel.
        own = self.pixels
        return vars(self) | {"pixels": (own.filename, own.dtype.name) if isinstance(own, np.memmap) else own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["pixels"], tuple):
            file, kind = state["pixels"]
            state = state | {"pixels": np.memmap(file, kind, mode="r")}
        vars(self).update(state)


def in_memory(images: Mapping[str, np.ndarray], channels: int = 1) -> ImageArrays:
    """Images by name, each uint8 or float32 in [0, 1]: (H, W), or (3, H, W) with three channels."""
    arrays = list(images.values())
    eight_bit = all(a.dtype == np.uint8 for a in arrays)
    flat = [(a if eight_bit else unit_scale(a)).ravel() for a in arrays]
    pixels = np.concatenate(flat) if len(flat) > 1 else flat[0] if flat else np.empty(0, np.uint8)
    return described(tuple(images), [a.shape[-2:] for a in arrays], pixels, [digest(a) for a in arrays], channels)


def described(names: tuple[str, ...], shapes: Any, pixels: np.ndarray, sha256: list[str], channels: int) -> ImageArrays:
    sizes = np.asarray(shapes, dtype=np.int64).reshape(-1, 2)
    counts = channels * sizes.prod(1)
    return ImageArrays(names, sizes, np.cumsum(counts) - counts, pixels, tuple(sha256), channels)


def load(files: Files, cache: Path, channels: int = 1) -> ImageArrays:
    """The images of ``files``, decoded, in grey or in three channels. A large set is decoded
    once, into the folder ``cache``, and then read from the disk. The key is the content of the files (and :data:`VERSION`).
    Raises: DataError: images cannot be used (all are named), or the cache cannot be written."""
    if sum(p.stat().st_size for p in paths(files) if p.is_file()) < CACHED_FROM:
        return in_memory(dict(zip(files, decoded(files, channels), strict=True)), channels)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        key = content_key(files, cache / "digests.json", channels)
        folder = cache / key
        with FileLock(cache / f"{key}.lock"):
            if not (folder / "index.json").is_file():
                for left in cache.glob(f".{key}.*"):  # of a killed process
                    shutil.rmtree(left)
                prepare(files, folder, channels)
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        pixels = np.memmap(folder / "pixels", index["dtype"], mode="r")
        return described(tuple(index["names"]), index["shapes"], pixels, index["sha256"], channels)
    except OSError as error:
        remedy = "set INVSMOOTH_DATA to a folder with space"
        raise DataError(f"the prepared images cannot be kept in {cache.absolute()}: {error}; {remedy}") from error


def prepare(files: Files, folder: Path, channels: int) -> None:
    log.info("preparing %d images in %s", len(files), folder.absolute())
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir()
    try:
        eight_bit = all(is_8_bit(f) for f in files.values())
        shapes, digests = [], []
        with (temporary / "pixels").open("wb") as target:
            for image in track(decoded(files, channels), "preparing images", total=len(files)):
                shapes.append(image.shape[-2:])
                digests.append(digest(image))
                target.write((image if eight_bit else unit_scale(image)).tobytes())
        kind = "uint8" if eight_bit else "float32"
        index = {"names": list(files), "shapes": shapes, "dtype": kind, "sha256": digests}
        (temporary / "index.json").write_text(json.dumps(index), encoding="utf-8")
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def decoded(files: Files, channels: int) -> Iterator[np.ndarray]:
    """Every image, in order, decoded on all cores. Raises DataError: at the end; it names every file that cannot be used."""

    def attempt(file: ImageFile) -> np.ndarray | DataError:
        try:
            return read_pixels(file, channels)
        except DataError as error:
            return error

    sizes, errors = check_expansion(files), []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for window in windows(files, sizes):
            for result in pool.map(attempt, window):
                if isinstance(result, DataError):
                    errors.append(str(result))
                elif not errors:
                    yield result
    if errors:
        raise DataError(f"{len(errors)} of {len(files)} images cannot be used:\n  " + "\n  ".join(errors))


def windows(files: Files, sizes: Mapping[str, int]) -> Iterator[list[ImageFile]]:
    """The files in order, in parts of at most :data:`WINDOW` images and :data:`WINDOW_BYTES` of pixels, but at least one."""
    window, n_bytes = list[ImageFile](), 0
    for name, file in files.items():
        if window and (len(window) == WINDOW or n_bytes + sizes.get(name, 0) > WINDOW_BYTES):
            yield window
            window, n_bytes = [], 0
        window.append(file)
        n_bytes += sizes.get(name, 0)
    if window:
        yield window


def check_expansion(files: Files) -> dict[str, int]:
    """Bytes of the pixels of each file that has a header. Raises: DataError: the headers promise so much more than the
    files hold that they are damaged, or meant to fill the memory. Nothing is decoded for it."""
    # One that has no header is named with all others that cannot be decoded.
    promised = {name: found for name, file in files.items() if file.pixels is None and (found := n_bytes(file))}
    of_archives = {f.path for f in files.values() if f.member is not None}
    stored = sum(p.stat().st_size for p in of_archives)
    stored = min(stored, sum(files[n].size() for n in promised if files[n].member is not None))
    stored += sum(files[n].size() for n in promised if files[n].member is None)
    if sum(promised.values()) > max(MOST_UNCHECKED, MOST_EXPANSION * stored):
        largest = max(promised, key=lambda name: promised[name])
        raise DataError(
            f"{len(promised)} images of {stored} bytes would be {sum(promised.values())} bytes of pixels, {files[largest]} "
            f"alone {promised[largest]}: images do not shrink so much. Leave out those that are not meant"
        )
    return promised


def paths(files: Files) -> set[Path]:
    return {f.path for f in files.values() if f.pixels is None}


def content_key(files: Files, memo: Path, channels: int = 1) -> str:
    """Hash of the names and contents of ``files``, and of the number of channels. ``memo`` keeps the
    hash of a file until its size or date changes."""
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or half written; it only saves time
        known = {}
    for path in paths(files):
        state = path.stat()
        if known.get(str(path.absolute()), [])[:2] != [state.st_size, state.st_mtime_ns]:
            with path.open("rb") as opened:
                found = hashlib.file_digest(opened, "sha256").hexdigest()
            known[str(path.absolute())] = [state.st_size, state.st_mtime_ns, found]
    temporary = memo.with_name(f".{memo.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(known), encoding="utf-8")
    os.replace(temporary, memo)
    contents = [(name, f.member, f.sha256 or known[str(f.path.absolute())][2]) for name, f in files.items()]
    content = [VERSION, contents] if channels == 1 else [VERSION, contents, channels]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
