"""Matrices in files."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor

from invsmooth.core.console import printable
from invsmooth.operators import matlab


def existing(path: str | Path) -> str | Path:
    if not Path(path).is_file():
        raise ValueError("there is no such file (a .npy or .mat file is expected)")
    return path


MatrixFile = Annotated[str | Path, AfterValidator(existing)]


def read_matrix(matrix: np.ndarray | Tensor | str | Path, key: str = "operator.matrix") -> Tensor:
    """A matrix, float32 of shape (m, n): given, or the one 2-d array of numbers in a .npy or .mat file. ``key``: of
    the config, for errors.
    Raises: FileNotFoundError. ValueError: the file cannot be read, or holds no real, finite matrix other than 0."""
    if not isinstance(matrix, str | Path):
        return checked(
            matrix.detach().cpu().numpy() if isinstance(matrix, Tensor) else np.asarray(matrix), "the matrix"
        )
    path, where = Path(matrix), f"{key}={printable(matrix)}:"
    if not path.is_file():
        raise FileNotFoundError(f"{where} there is no such file (expected a .npy or .mat file)")
    readers = {".npy": in_npy, ".mat": in_mat}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{where} the file name has to end in .npy or .mat")
    try:
        found = readers[path.suffix.lower()](path)
    except Unusable as error:
        raise ValueError(f"{where} {error}") from error
    except Exception as error:  # of damaged files the readers raise whatever they stumble over
        said = printable(error, 200) or type(error).__name__
        raise ValueError(f"{where} cannot be read as a {path.suffix.lower()} file: {said}") from error
    return checked(found, where)


class Unusable(ValueError):
    """A file of a kind that is not read."""


def in_npy(path: Path) -> np.ndarray:
    # Mapped: a header may promise more than the file has, and more than the memory.
    found = np.load(path, allow_pickle=False, mmap_mode="r")
    if isinstance(found, np.ndarray):
        return found
    found.close()
    raise Unusable("is a .npz archive of arrays: save the one matrix by numpy.save")


def in_mat(path: Path) -> np.ndarray:
    """In a process of its own: scipy crashes on some damaged files."""
    command = [sys.executable, "-P", matlab.__file__, str(path)]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode == 0:
        return np.load(io.BytesIO(ended.stdout), allow_pickle=False)
    said = ended.stderr.decode(errors="replace").strip()
    if ended.returncode == matlab.REFUSED:
        raise Unusable(printable(said))
    raise ValueError(said if ended.returncode == matlab.UNREADABLE else "it is damaged")


def checked(found: np.ndarray, where: str) -> Tensor:
    if found.ndim != 2 or found.dtype.kind not in "biufc":
        kind = f"{found.dtype} of shape {found.shape}" if found.dtype.names is None else "a structure"
        raise ValueError(f"{where} holds {kind}, not a matrix of numbers")
    if found.dtype.kind == "c":
        raise ValueError(f"{where} is complex ({found.dtype}); a real matrix is expected")
    with np.errstate(over="ignore"):  # numbers beyond float32
        values = np.array(found, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{where} has {int((~np.isfinite(values)).sum())} numbers that are not finite (in float32)")
    if not values.any():
        raise ValueError(f"{where} has no number other than 0")
    return torch.from_numpy(values)
