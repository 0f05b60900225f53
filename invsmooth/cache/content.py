"""Keys of results: hashes of the content that determines them."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def content_key(value: Any) -> str:
    """32 hex digits of the SHA-256 of a nested value: numbers, text, None, mappings, sequences,
    data classes, enums, paths, numpy arrays and torch tensors (type, shape and every bit).
    Raises: TypeError: it holds something else."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:32]


def plain(value: Any) -> Any:
    """``value`` as JSON. Whole numbers and floats differ: 1 and 1.0 may mean different things."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return ["array", array.dtype.str, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if hasattr(value, "detach"):  # a torch tensor; this module does not import torch
        return plain(value.detach().cpu().numpy())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Sequence):
        return [plain(v) for v in value]
    raise TypeError(f"a {type(value).__name__} has no content that could be hashed")


def file_key(path: str | Path) -> str:
    with Path(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
