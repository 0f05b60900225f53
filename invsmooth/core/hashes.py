"""Hashes of arrays."""

from __future__ import annotations

import hashlib

import numpy as np


def array_sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
