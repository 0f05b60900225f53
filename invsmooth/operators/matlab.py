"""The one matrix in a .mat file, written to the standard output as .npy. A script, run in a process of its own."""

from __future__ import annotations

import io
import math
import sys

import numpy as np

NUMBERS = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
"""Kinds of MATLAB's variables."""
HDF5 = b"\x89HDF\r\n\x1a\n"
SMALL, MOST_EXPANSION = 2**27, 100
"""Bytes that any file may become; a larger matrix at most so many times the bytes of its file."""
REFUSED, UNREADABLE = 2, 3
"""Exit codes: a file of a kind that is not read; a damaged one. The standard error says why."""


def the_matrix(path: str) -> np.ndarray:
    """By the file's directory: no other variable is read, and none that would fill the memory.
    Raises: SystemExit: a file of a kind that is not read. Whatever scipy raises: a damaged one."""
    from scipy.io import loadmat, whosmat

    with open(path, "rb") as file:
        if HDF5 in file.read(520):  # after MATLAB's own header of 512 bytes
            refuse("is of MATLAB 7.3 (HDF5), which is not read: save it there with -v7, or as .npy from Python")
        size = file.seek(0, 2)
    variables = whosmat(path)
    found = [(n, s) for n, s, kind in variables if kind in NUMBERS and len(s) == 2 and math.prod(s) > 1]
    if len(found) != 1:
        if sparse := [name for name, _, kind in variables if kind == "sparse"]:
            refuse(f"holds a sparse matrix ({', '.join(sparse)}): save it as a full one")
        named = f" ({', '.join(name for name, _ in found)})" if found else ""
        refuse(f"holds {len(found)} matrices{named}, but just one is expected")
    name, shape = found[0]
    if 8 * math.prod(shape) > max(SMALL, MOST_EXPANSION * size):
        refuse(f"is too small for a matrix of {' × '.join(map(str, shape))}: it is damaged, or almost all is 0")
    return np.asarray(loadmat(path, variable_names=[name])[name])


def refuse(said: str) -> None:
    sys.stderr.buffer.write(said.encode())
    sys.exit(REFUSED)


def main(path: str) -> None:
    found = io.BytesIO()
    try:
        np.save(found, the_matrix(path), allow_pickle=False)
    except Exception as error:
        sys.stderr.buffer.write((str(error) or type(error).__name__).encode(errors="replace"))
        sys.exit(UNREADABLE)
    sys.stdout.buffer.write(found.getvalue())


if __name__ == "__main__":
    main(sys.argv[1])
