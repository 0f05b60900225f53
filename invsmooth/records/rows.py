"""Result rows: one for each (image, eps, sigma, sigma_b, ratio, certifier), in a Parquet file (SPEC
section 8). A certifier that does not smooth has no sigma there.

A file has the columns of SCHEMA, then those that its certifiers declare. The declarations are in
the file's metadata: reports need neither torch nor the package that a part comes from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from invsmooth.core.declarations import AlgorithmDeclaration, CertifierDeclaration
from invsmooth.core.files import replaced
from invsmooth.records.columns import BASE, FURTHER

TEXT, REAL, WHOLE, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
TYPES = {"text": TEXT, "real": REAL, "whole": WHOLE, "flag": FLAG}  # Kind of a declared column -> its type in the file

SCHEMA = pa.schema(
    [
        ("run_id", TEXT), ("algo", TEXT), ("task", TEXT), ("estimator", TEXT), ("scale", TEXT), ("dataset", TEXT),
        ("image", TEXT), ("operator", TEXT),
        # eps: l2 norm, [0, 1] pixels. sigma, sigma_b: 8-bit grey levels. eps_over_sigma: the
        # certificate's ratio.
        ("eps", REAL), ("sigma", REAL), ("sigma_b", REAL), ("ratio", REAL), ("eps_over_sigma", REAL),
        ("n_samples", WHOLE), ("confidence", REAL), ("quantile", REAL), ("k_index", WHOLE),
        ("simultaneous", TEXT), ("confidence_each", REAL), ("joint_over_eps", FLAG),
        ("certifier", TEXT), ("units", TEXT), ("sound", FLAG), ("reason", TEXT), ("impossible", FLAG),
        ("abstained", FLAG), ("bound", REAL), ("truth", REAL), ("truth_lower", REAL), ("truth_upper", REAL),
        ("psnr_measured", REAL), ("psnr_clean", REAL), ("psnr_attacked", REAL), ("psnr_noise", REAL),
        ("psnr_median", REAL), ("psnr_certified", REAL),
        ("ssim_clean", REAL), ("ssim_attacked", REAL), ("ssim_median", REAL), ("ssim_certified", REAL),
        ("attack", TEXT), ("attack_target", TEXT),
        ("attack_norm", REAL), ("attack_zero_gradient", FLAG), ("attack_grad_evals", WHOLE),
        ("attack_precision", TEXT), ("network_evals", WHOLE), ("seconds", REAL), ("precision", TEXT),
        ("seed", WHOLE), ("estimator_sha256", TEXT),
    ]
)  # fmt: skip
"""The columns that every file has. What SPEC section 8 does not say of them:

- sigma, eps_over_sigma: null or nan in the rows of certifiers that do not smooth (one for each image
  and eps): n_samples is 0 and the confidence 1. Their attack is on the estimator itself, whatever
  ``attack.target`` is (attack_target: base). psnr_median: of the reconstruction itself.
- algo, task: their names in training, also in an evaluation of its checkpoint. estimator: the class
  of the network.
- scale: the sizes that the training took: paper or small (options called ``_small`` are small in
  both); null: not known, as of published weights.
- bound: the certified MSE of the row's certifier (docs/theory.md). Without a certificate it is nan,
  k_index is null, and ``reason`` says why. impossible: no draws could give one here. abstained: the
  certifier had the draws and gave none.
- truth: estimate of the bounded value under the attack, from fresh draws, with confidence limits,
  in the unit of bound.
- confidence: of all certificates together that ``simultaneous`` names (eps, sigma, images; "": each
  row on its own), among the rows of one run and certifier. confidence_each: of one certificate.
  joint_over_eps: the certificates of all eps of this image, sigma and certifier are one statement.
  Several runs together: :mod:`invsmooth.reporting.together`.
- psnr_certified, ssim_certified: of the draw of rank K, whose error is the bound. They are of one
  picture and bound nothing. psnr_median, ssim_median: of the picture that the certifier shows.
- psnr_measured: of A^T y, divided by ||A||² where that is not 1. psnr_noise: under a random
  perturbation of norm eps, the control.
- precision: of the network that is attacked and certified, fp32 or bf16. attack_precision: of the
  gradients that xi was searched with; attack.precision=auto takes what is faster on the machine.
- attack_target: whose error the attack maximised (base, mean, median). attack_zero_gradient: the
  gradient was zero wherever the attack took it, so psnr_attacked is no sign of robustness."""

METADATA = b"invsmooth"  # Key of the declarations in the metadata of a file
VERSION_KEY, VERSION = b"invsmooth.rows", 1
"""Key and value of the version of the rows, in the metadata. It grows where an older invsmooth would misread a file; a
new column does not change it. Earlier files have none."""

LATER = ("scale", "precision", "attack_precision")  # Columns that files of earlier versions lack; null there

KEY = ("run_id", "image", "eps", "sigma", "sigma_b", "ratio", "certifier")  # Columns that identify a row


@dataclass(frozen=True)
class Declared:
    """What the parts behind some rows declare, by the name in the columns ``certifier`` and
    ``algo``. An algorithm may be missing: an evaluation needs none."""

    certifiers: Mapping[str, CertifierDeclaration] = field(default_factory=dict)
    algorithms: Mapping[str, AlgorithmDeclaration] = field(default_factory=dict)

    @cached_property  # the files of hundreds of runs are compared with it
    def schema(self) -> pa.Schema:
        """SCHEMA, then the declared columns, with the declarations as metadata, and of each column its description and unit.
        Raises: ValueError: two declarations give one column two types, or an unknown kind."""
        found = {f.name: f.type for f in SCHEMA}
        for certifier in sorted(self.certifiers.values(), key=lambda c: (c.order, c.name)):
            for column in certifier.columns:
                if column.kind not in TYPES:
                    one = f"certifier {certifier.name} declares the column {column.name} as {column.kind!r}"
                    raise ValueError(f"{one}, which is none of {', '.join(TYPES)}")
                if found.setdefault(column.name, TYPES[column.kind]) != TYPES[column.kind]:
                    one = f"certifier {certifier.name} declares the column {column.name} as {column.kind}"
                    raise ValueError(f"{one}, but elsewhere it is {found[column.name]}; give it another name")
        metadata = {METADATA: json.dumps(dataclasses.asdict(self)).encode(), VERSION_KEY: str(VERSION).encode()}
        return pa.schema([described(*item, self) for item in found.items()], metadata=metadata)

    def __or__(self, other: Declared) -> Declared:
        """Both; of two declarations of a name that of ``other``."""
        return Declared({**self.certifiers, **other.certifiers}, {**self.algorithms, **other.algorithms})


def described(name: str, kind: pa.DataType, declared: Declared) -> pa.Field:
    """A column; its metadata are description and unit ("": it has none)."""
    own = {c.name: c for certifier in declared.certifiers.values() for c in certifier.columns}
    column = own | {c.name: c for c in (*BASE, *FURTHER)}
    return pa.field(name, kind, metadata={"description": column[name].meaning, "unit": column[name].unit})


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], declared: Declared) -> None:
    """Write ``rows`` as Parquet, all or nothing. A declared column that a row lacks is null there.
    Raises: ValueError: a row lacks a column of SCHEMA, or has one that nothing declares."""
    replace_table(path, to_table(rows, declared))


def to_table(rows: Iterable[Mapping[str, Any]], declared: Declared) -> pa.Table:
    """Raises: ValueError: as :func:`write_rows`."""
    rows, schema = list(rows), declared.schema
    for row in rows:
        if wrong := (set(SCHEMA.names) - set(row)) | (set(row) - set(schema.names)):
            raise ValueError(f"row and schema differ in {sorted(wrong)}")
    return pa.Table.from_pylist(rows, schema=schema)


class GrowingRows:
    """A file of rows that come in parts. It is written anew, all or nothing, whenever the rows have
    grown by a tenth, and by :meth:`write`: the time of all writing grows as the rows do."""

    def __init__(self, path: Path, declared: Declared) -> None:
        self.path, self.declared, self.parts, self.written = path, declared, list[pa.Table](), 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Raises: ValueError: as :func:`write_rows`."""
        self.parts.append(to_table(rows, self.declared))
        if len(self) >= 1.1 * self.written:
            self.write()

    def write(self) -> None:
        if self.parts and self.written < len(self):
            replace_table(self.path, pa.concat_tables(self.parts).combine_chunks())
            self.written = len(self)

    def __len__(self) -> int:
        return sum(map(len, self.parts))


def write_table(path: Path, rows: pd.DataFrame, declared: Declared) -> None:
    """Write rows that :func:`read_rows` read, all or nothing."""
    schema = declared.schema
    replace_table(path, pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False))


def replace_table(path: Path, table: pa.Table) -> None:
    with replaced(path) as temporary:
        pq.write_table(table, temporary)


def read_rows(
    folders: str | Path | Sequence[str | Path], damaged: dict[Path, str] | None = None
) -> tuple[pd.DataFrame, Declared]:
    """The rows of a run folder, or of several, each row once, with its run's folder as column ``folder``;
    and the declarations. ``damaged``: files that cannot be used are left out and noted there, with the reason.
    Raises: ValueError: a file that cannot be used, without ``damaged``; or no file is left."""
    tables, declared = [], Declared()
    declarations: dict[bytes, Declared] = {}  # the files of a sweep have the same ones
    kinds: dict[str, pa.DataType] = {}
    several = [folders] if isinstance(folders, str | Path) else folders
    for folder in sorted(map(Path, several)):
        try:
            table, own = read_file(folder / "results.parquet", declarations)
            check_kinds(folder / "results.parquet", own, kinds)
        except (OSError, ValueError, pa.ArrowException) as error:
            if damaged is None:
                raise
            damaged[folder / "results.parquet"] = str(error).splitlines()[0]
            continue
        declared |= own
        names = pa.array([str(folder)] * len(table), TEXT)
        tables.append(table.replace_schema_metadata().append_column("folder", names))
    if not tables:
        raise ValueError("no rows: " + "; ".join(f"{path}: {why}" for path, why in (damaged or {}).items()))
    columns = [*declared.schema.names, "folder"]
    rows = pa.concat_tables(tables, promote_options="default").select(columns)
    frame = rows.to_pandas(types_mapper={WHOLE: pd.Int64Dtype()}.get, strings_to_categorical=True)
    # Texts as Python objects, each once: reports choose among rows thousands of times, which takes longer in Arrow's.
    texts = frame.columns[frame.dtypes == "category"]
    frame = frame.astype(dict.fromkeys(texts, object))
    # A sweep's own file repeats the rows of its jobs. Theirs, which come later, lie by their pictures.
    return frame.drop_duplicates(list(KEY), keep="last", ignore_index=True), declared


def count_rows(folders: Iterable[Path]) -> int:
    """By the ends of their files. One that is damaged counts as none."""
    n = 0
    for folder in folders:
        with suppress(OSError, ValueError):  # read_rows says what is wrong
            n += pq.read_metadata(folder / "results.parquet").num_rows
    return n


def read_file(path: Path, declarations: dict[bytes, Declared]) -> tuple[pa.Table, Declared]:
    """The rows of a file. ``declarations``: what was read before, by the metadata that say it. Columns that nothing
    declares are dropped by :func:`read_rows`.
    Raises: OSError, ValueError: it cannot be read, is of a newer version, declares nothing, or lacks columns or their
    types."""
    table = pq.ParquetFile(path).read()  # read_table takes twice as long for a small file
    table.validate(full=True)
    metadata = table.schema.metadata or {}
    check_version(path, metadata.get(VERSION_KEY))
    said = metadata.get(METADATA, b"")
    if said not in declarations:
        try:
            declarations[said] = ADAPTER.validate_json(said)
        except ValidationError as error:
            undeclared = f"{path} does not declare its certifiers: another version of invsmooth wrote it"
            gone = sorted(set(SCHEMA.names) - set(table.column_names))
            lacks = f", which lacks the columns {', '.join(gone)}" if gone else ""
            raise ValueError(f"{undeclared}{lacks}; run that evaluation again") from error
    own = declarations[said]
    for column in (c for c in LATER if c not in table.column_names):
        table = table.append_column(column, pa.nulls(len(table), TEXT))
    if missing := set(own.schema.names) - set(table.column_names):
        raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
    kinds = {field.name: field.type for field in table.schema}
    if wrong := [f.name for f in own.schema if kinds[f.name] != f.type]:
        raise ValueError(f"{path} has columns of other types than invsmooth writes: {', '.join(wrong)}")
    if not len(table):
        raise ValueError(f"{path} has no rows")
    return table, own


def check_version(path: Path, said: bytes | None) -> None:
    """Raises: ValueError: the version of the rows, as the metadata say it, is none that this invsmooth reads."""
    version = VERSION if said is None else int(said) if said.isdigit() and len(said) < 10 else 0
    if version > VERSION:
        newer = f"{path} has rows of version {version}, made by a newer invsmooth"
        raise ValueError(f"{newer}; this one reads up to version {VERSION}: upgrade")
    if version < 1:
        raise ValueError(f"{path} has rows of version {said!r:.40}, which no invsmooth writes")


def check_kinds(path: Path, declared: Declared, kinds: dict[str, pa.DataType]) -> None:
    """Note the types of a file's columns in ``kinds``. Raises: ValueError: an earlier file has another one."""
    for column in declared.schema:
        if kinds.get(column.name, column.type) != column.type:
            here = f"{path} has the column {column.name} as {column.type}, others as {kinds[column.name]}"
            raise ValueError(f"{here}: two versions of a certifier; report them apart")
    kinds.update({column.name: column.type for column in declared.schema})


ADAPTER = TypeAdapter(Declared)  # once: to make it takes as long as to read a file
