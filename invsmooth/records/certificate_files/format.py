"""How certificate files are written and read: JSON with a checksum, and the measurements beside it.
A number that JSON does not know is one of the strings "nan", "inf" and "-inf". All others have as
many digits as give the same float again. No torch."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from invsmooth.core.errors import NotTrusted, ScratchError
from invsmooth.core.files import replaced, write_bytes

FORMAT, VERSION = "invsmooth certificates", 2
FOLDER = "certificates"  # Within a run folder
MOST_BYTES, MOST_DIGITS, MOST_LEVELS = 2**29, 20, 32
"""Of a file: its size, the digits of a whole number, objects and lists within each other."""
SOON_READ = 10**6
"""Characters of a file that are parsed whatever they are."""

Record = dict[str, Any]


class CertificateFileError(ValueError):
    """A file that is no certificate file, or not one that this version reads."""


class NotChecked(CertificateFileError):
    """What the user did not allow, or give: the weights, so many draws. The file may be right."""


def not_checked(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, says that something was not given."""
    while error is not None and not isinstance(error, NotChecked | NotTrusted | ScratchError | FileNotFoundError):
        error = error.__cause__
    return error is not None


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 of all but the checksum itself, whatever the order of keys and the white space."""
    content = {k: v for k, v in record.items() if k != "sha256"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def dumped(record: Mapping[str, Any]) -> bytes:
    """A record with its checksum as JSON; a line for each certificate, for people to look at."""
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
    Raises: CertificateFileError: no file, no JSON, no certificate file, or of another version."""
    try:
        if not os.path.isfile(path):
            raise CertificateFileError(why_no_file(path))
        if (size := path.stat().st_size) > MOST_BYTES:
            too_large = f"is too large for a certificate file: {size} bytes"
            raise CertificateFileError(f"{too_large}, at most {MOST_BYTES} are read")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CertificateFileError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CertificateFileError(f"cannot be read as text: {error}") from error
    if len(text) > SOON_READ and FORMAT not in text:  # before minutes of garbage are parsed
        raise CertificateFileError(f"is no certificate file (its format is not {FORMAT!r})")
    try:
        parsers: dict[str, Any] = {"parse_constant": refuse, "parse_float": finite, "parse_int": short_integer}
        record = json.loads(text, object_pairs_hook=once, **parsers)
    except (json.JSONDecodeError, RecursionError) as error:
        raise CertificateFileError(f"is no whole JSON file: {error}") from error
    if nested_deeper(record, MOST_LEVELS):
        raise CertificateFileError(f"has objects and lists nested deeper than {MOST_LEVELS} levels")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise CertificateFileError(f"is JSON, but no certificate file (its format is not {FORMAT!r})")
    version = record.get("version")
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        newer = f"has format version {version}, made by a newer invsmooth"
        raise CertificateFileError(f"{newer}; this one reads version {VERSION}: upgrade")
    if version != VERSION or isinstance(version, bool):
        raise CertificateFileError(f"has format version {version!r}; this invsmooth reads version {VERSION}")
    return record


def why_no_file(path: Path) -> str:
    """Of what is no file that ends. Raises: OSError: a folder that may not be read."""
    if path.is_dir():
        os.listdir(path)
        return "is a folder, no file"
    return f"is a link to {os.readlink(path)}, which is not there" if path.is_symlink() else "there is no such file"


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys differ: of two equal ones one could be seen, the other checked."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = sorted(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
        raise CertificateFileError(f"names a field twice: {', '.join(twice)}")
    return found


def nested_deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value has more levels; without recursion, which deep ones would exhaust."""
    level = [value]
    for _ in range(levels):
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [v for values in inner for v in values]
    return any(isinstance(v, dict | list) for v in level)


def short_integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise CertificateFileError(f"holds a whole number of {len(text)} characters")
    return int(text)


def finite(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else refuse(text)


def refuse(constant: str) -> NoReturn:
    raise CertificateFileError(f"is no valid JSON: it holds {constant}, which certificate files write as a string")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, all of them float32 and finite.
    Raises: CertificateFileError: the file is missing or broken, or holds something else."""
    if not os.path.isfile(path):  # False, too, for what is no name of a file
        raise CertificateFileError(f"the measurements are missing: there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            # Before memory is taken: what it unpacks to, and what the headers say.
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise CertificateFileError(f"{path} unpacks to more than its own size")
            for entry in archive.infolist():
                check_header(archive, entry)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except CertificateFileError:
        raise
    except Exception as error:  # numpy and zipfile raise a different error for each way a file can be broken
        raise CertificateFileError(f"the measurements cannot be read from {path}: {error}") from error
    if wrong := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise CertificateFileError(f"{wrong[0]} in {path} is not finite")
    return arrays


def check_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Whether a part of an .npz file is an array of float32 that is as long as its header says."""
    with archive.open(entry) as member:
        if not entry.filename.endswith(".npy") or np.lib.format.read_magic(member) != (1, 0):
            raise CertificateFileError(f"{entry.filename} in {archive.filename} is no array")
        shape, _, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype != np.float32:
            raise CertificateFileError(f"{entry.filename} in {archive.filename} has type {dtype}, not float32")
        if member.tell() + 4 * math.prod(shape) != entry.file_size:
            raise CertificateFileError(f"{entry.filename} in {archive.filename} is not as long as its shape {shape}")


def find_files(patterns: Iterable[str]) -> list[Path]:
    """The files given, the certificate files of the folders given, and what globs match, each once.
    Raises: CertificateFileError: one of them gives nothing."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        try:
            matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))
            files = [f for m in matches for f in files_of(Path(m))]
        except OSError as error:
            raise CertificateFileError(f"{pattern}: cannot be looked for: {error.strerror}") from error
        if not files:
            none = f"{pattern}: no certificate file there ({len(matches)} paths match)"
            raise CertificateFileError(f"{none}; give a .json file of a run's {FOLDER} folder, a run folder or a glob")
        found |= dict.fromkeys(files)
    return list(found)


def files_of(path: Path) -> list[Path]:
    """Of a folder: what ends in .json in a folder ``certificates``, or else right in it; and folders that may not be
    read. All of it is named later, also what is no file: links to nothing, folders."""
    if not path.is_dir():
        return [path]
    below, unread = list[Path](), list[OSError]()
    for folder, inner, names in os.walk(path, onerror=unread.append):
        if FOLDER in (os.path.basename(os.path.abspath(folder)), os.path.basename(os.path.realpath(folder))):
            below += [Path(folder, name) for name in (*names, *inner) if name.endswith(".json")]
        if FOLDER in inner and Path(folder, FOLDER).is_symlink():  # which os.walk does not follow
            below += Path(folder, FOLDER).glob("*.json")
    return sorted([*below, *(Path(error.filename) for error in unread)]) or sorted(path.glob("*.json"))
