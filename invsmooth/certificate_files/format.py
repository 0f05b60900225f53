"""How certificate files are written and read: JSON with a checksum, and the measurements beside it. No torch.

A number that JSON does not know is one of the strings "nan", "inf" and "-inf". All others are written with as many digits as
give the same float again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from invsmooth.atomic import replaced, write_bytes

FORMAT, VERSION = "invsmooth certificates", 2
FOLDER = "certificates"
"""Within a run folder."""
NOT_FINITE = ("nan", "inf", "-inf")

Record = dict[str, Any]


class CertificateFileError(ValueError):
    """A file that is no certificate file, or not one that this version reads."""


def real(value: float) -> float | str:
    """A number as JSON can hold it."""
    return float(value) if math.isfinite(value) else str(float(value))


def canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of everything in the file but the checksum itself, whatever the order of keys and the white space."""
    return hashlib.sha256(canonical({k: v for k, v in record.items() if k != "sha256"}).encode()).hexdigest()


def array_sha256(array: np.ndarray) -> str:
    """SHA-256 of an array's shape, type and values."""
    digest = hashlib.sha256(f"{array.shape} {array.dtype}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def dumped(record: Mapping[str, Any]) -> bytes:
    """A record with its checksum as JSON; a line for each certificate, so that people can look at it."""
    lines = []
    for key, value in {**record, "sha256": checksum(record)}.items():
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if key == "certificates":
            text = "[\n" + ",\n".join(json.dumps(c, ensure_ascii=False, allow_nan=False) for c in value) + "\n]"
        lines.append(f"{json.dumps(key)}: {text}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with its checksum, all or nothing."""
    write_bytes(path, dumped(record))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz file, all or nothing."""
    with replaced(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_record(path: Path) -> Record:
    """The content of a certificate file. Its fields are not looked at.

    Raises: CertificateFileError: no file, no JSON, no certificate file, or one of another version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CertificateFileError("there is no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateFileError(f"cannot be read as text: {error}") from error
    try:
        record = json.loads(text, object_pairs_hook=once, parse_constant=refuse, parse_float=finite)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CertificateFileError(f"is no whole JSON file: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CertificateFileError(f"is JSON, but no certificate file (its format is not {FORMAT!r})")
    version = record.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise CertificateFileError(
            f"has format version {version}, made by a newer invsmooth; this one reads version {VERSION}: upgrade"
        )
    if version != VERSION or isinstance(version, bool):
        raise CertificateFileError(f"has format version {version!r}; this invsmooth reads version {VERSION}")
    return record


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ: of two equal ones a reader could see the one and check the other."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted({k for k, _ in pairs if sum(k == other for other, _ in pairs) > 1})
        raise CertificateFileError(f"names a field twice: {', '.join(twice)}")
    return found


def finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else refuse(text)


def refuse(constant: str) -> NoReturn:
    raise CertificateFileError(f"is no valid JSON: it holds {constant}, which certificate files write as a string")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Raises CertificateFileError: the file is missing or broken."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise CertificateFileError(f"the measurements are missing: there is no file {path}") from error
    except Exception as error:  # numpy and zipfile raise a different error for each way a file can be broken
        raise CertificateFileError(f"the measurements cannot be read from {path}: {error}") from error


def find_files(patterns: Iterable[str]) -> list[Path]:
    """The files given, the certificate files of the folders given, and what globs match, each once.

    Raises: CertificateFileError: one of them gives nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
        files = [f for m in matches for f in files_of(Path(m))]
        if not files:
            raise CertificateFileError(
                f"{pattern}: no certificate file there ({len(matches)} paths match); give a .json file of a run's "
                f"{FOLDER} folder, a run folder or a glob"
            )
        found |= dict.fromkeys(files)
    return list(found)


def files_of(path: Path) -> list[Path]:
    """The certificate files of a folder: those in a folder ``certificates``, or else all .json files right in it."""
    if not path.is_dir():
        return [path]
    below = [f for f in sorted(path.rglob("*.json")) if f.resolve().parent.name == FOLDER]
    return below or sorted(path.glob("*.json"))
