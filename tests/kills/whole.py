"""Whether files are whole, whenever their writer was killed."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from PIL import Image

HYDRAS = {".hydra", "multirun.yaml"}  # written by Hydra, and read by nobody but people


def half_written(folder: Path) -> Iterator[str]:
    """Each file below ``folder`` that has a final name and cannot be read to its end."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in READERS):
        if HYDRAS.isdisjoint(path.relative_to(folder).parts):
            try:
                READERS[path.suffix](path)
            except Exception as error:
                yield f"{path.relative_to(folder)} is half-written: {type(error).__name__}: {error}"


def read_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def read_arrays(path: Path) -> None:
    with np.load(path) as arrays:
        assert [arrays[name] for name in arrays.files]


def read_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def read_lines(path: Path) -> None:
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    assert len({len(line) for line in csv.reader(text.splitlines())}) == 1


def read_mapping(path: Path) -> None:
    assert len(OmegaConf.load(path)) or path.name == "hparams.yaml"


def ends_with(end: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        assert path.read_bytes().rstrip().endswith(end.encode())

    return read


READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": pq.read_table, ".json": lambda p: json.loads(p.read_text()), ".csv": read_lines, ".yaml": read_mapping,
    ".npz": read_arrays, ".ckpt": read_archive, ".zip": read_archive, ".png": read_picture, ".pdf": ends_with("%%EOF"),
    ".html": ends_with("</html>"), ".md": ends_with(""),
}  # fmt: skip
