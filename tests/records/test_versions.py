"""Files of earlier and of newer versions of invsmooth: read, or refused by version and columns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invsmooth.records.certificate_files.format import VERSION as FILE_VERSION
from invsmooth.records.certificate_files.format import CertificateFileError, read_record
from invsmooth.records.rows import METADATA, SCHEMA, VERSION, VERSION_KEY, read_rows
from invsmooth.reporting import report
from invsmooth.reporting.damage import DamagedRuns, listed, sound_runs
from invsmooth.reporting.page.data import run as page_run
from invsmooth.reporting.runs import read_run
from tests.reporting.declared import DECLARED
from tests.reporting.made import row, stored

# The columns of SCHEMA that a file of each earlier version lacks, by `git log -p -- invsmooth/records/rows.py`.
EARLIER = {
    "27 November, morning": ("scale", "precision", "attack_precision"),
    "27 November, noon": ("scale", "attack_precision"),
    "27 November, evening": ("attack_precision",),
}
BEFORE_DECLARATIONS = ("joint_over_eps", "impossible", "scale", "precision", "attack_precision")


def rewritten(folder: Path, change: Callable[[pa.Table], pa.Table], **values: Any) -> Path:
    stored(folder, *(row(eps=eps, **values) for eps in (0.1, 0.2)))
    path = folder / "results.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    return folder


def with_metadata(**changed: bytes | None) -> Callable[[pa.Table], pa.Table]:
    """``declarations``, ``version``: None takes it away."""

    def change(table: pa.Table) -> pa.Table:
        names = {"declarations": METADATA, "version": VERSION_KEY}
        metadata = dict(table.schema.metadata) | {names[k]: v for k, v in changed.items()}
        return table.replace_schema_metadata({k: v for k, v in metadata.items() if v is not None})

    return change


def declarations(change: Callable[[dict[str, Any]], object]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        said = json.loads(table.schema.metadata[METADATA])
        change(said)
        return with_metadata(declarations=json.dumps(said).encode())(table)

    return changed


def test_a_file_says_its_version(tmp_path: Path) -> None:
    stored(tmp_path, row())
    assert pq.read_schema(tmp_path / "results.parquet").metadata[VERSION_KEY] == str(VERSION).encode()


@pytest.mark.parametrize("version", EARLIER)
def test_rows_of_an_earlier_version_are_read_and_reported(version: str, tmp_path: Path) -> None:
    def earlier(table: pa.Table) -> pa.Table:
        return with_metadata(version=None)(table.drop_columns(list(EARLIER[version])))

    old = rewritten(tmp_path / "old", earlier, run_id="old", scale="small", precision="fp32")
    stored(tmp_path / "new", row(run_id="new", scale="small", precision="fp32"))
    rows, declared = read_rows([old, tmp_path / "new"])
    assert declared == DECLARED
    assert set(rows.loc[rows["run_id"] == "new", "precision"]) == {"fp32"}
    assert rows.loc[rows["run_id"] == "old", list(EARLIER[version])].isna().all(axis=None)
    report([old, tmp_path / "new"], tmp_path / "report")


def test_rows_from_before_the_declarations_are_refused_with_what_they_lack(tmp_path: Path) -> None:
    old = rewritten(
        tmp_path / "old",
        lambda table: table.drop_columns(list(BEFORE_DECLARATIONS)).replace_schema_metadata(),
    )
    message = (
        "another version of invsmooth wrote it, which lacks the columns attack_precision, impossible, joint_over_eps, "
        "precision, scale"
    )
    with pytest.raises(ValueError, match=message):
        read_rows([old])


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.append_column("psnr_of_tomorrow", pa.array([1.0] * len(table))),
        declarations(lambda said: said.update(tomorrow={"a": 1})),
        declarations(lambda said: said["certifiers"]["error"].update(tomorrow=[1])),
        declarations(lambda said: said["algorithms"].update(tomorrow={"name": "tomorrow", "depth": 3})),
        with_metadata(version=b"1"),
    ],
    ids=["a column", "a group", "a field", "an algorithm", "the same version"],
)
def test_what_a_newer_version_adds_is_passed_over(change: Callable[[pa.Table], pa.Table], tmp_path: Path) -> None:
    rows, _ = read_rows([rewritten(tmp_path / "new", change)])
    assert len(rows) == 2
    assert set(SCHEMA.names) < set(rows.columns)
    assert "psnr_of_tomorrow" not in rows


REFUSED: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "newer": (
        with_metadata(version=b"2"),
        "has rows of version 2, made by a newer invsmooth; this one reads up to version 1: upgrade",
    ),
    "newer, and other declarations": (
        with_metadata(version=b"999", declarations=b"[]"),
        "has rows of version 999, made",
    ),
    "no number": (
        with_metadata(version=b"one\x1b[2J"),
        r"has rows of version b'one\x1b[2J', which no invsmooth writes",
    ),
    "zero": (with_metadata(version=b"0"), "has rows of version b'0', which"),
    "digits": (with_metadata(version=b"9" * 10_000), "has rows of version b'9999"),
    "a kind of column": (
        declarations(lambda said: said["certifiers"]["error"]["columns"][0].update(kind="complex")),
        "as 'complex', which is none of text, real, whole, flag",
    ),
    "a certifier's type": (
        declarations(lambda said: said["certifiers"]["error"]["columns"][0].update(kind="text")),
        "has columns of other types than invsmooth writes: ",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_this_version_would_misread_is_left_out_by_name(kind: str, tmp_path: Path) -> None:
    change, why = REFUSED[kind]
    bad = rewritten(tmp_path / "bad", change, run_id="bad")
    good = tmp_path / "good"
    stored(good, row(run_id="good"))
    rows, _, _, damaged = sound_runs([bad, good])
    assert set(rows["run_id"]) == {"good"}
    assert list(damaged) == [bad / "results.parquet"]
    assert why in listed(damaged)
    assert len(listed(damaged)) < 1000


def test_two_types_of_one_column_are_named(tmp_path: Path) -> None:
    """A certifier whose column was a number in one version and is a text in the next."""
    name = DECLARED.certifiers["error"].columns[0].name

    def other(table: pa.Table) -> pa.Table:
        table = declarations(lambda said: said["certifiers"]["error"]["columns"][0].update(kind="text"))(table)
        return table.set_column(table.column_names.index(name), name, pa.array(["a"] * len(table)))

    bad = rewritten(tmp_path / "other", other, run_id="other")
    stored(tmp_path / "good", row(run_id="good"))
    with pytest.raises(DamagedRuns, match=f"has the column {name} as string, others as double: .* report them apart"):
        report([bad, tmp_path / "good"], tmp_path / "report")
    assert (tmp_path / "report" / "index.html").is_file()
    assert read_rows([bad])[1] != DECLARED  # on its own it is fine


RECORDS: dict[str, Any] = {
    "earlier": {"status": "finished", "command": "python -m invsmooth.train", "seed": 0, "versions": {"invsmooth": "0.0.1"}},
    "newer": {"status": "finished", "versions": {"invsmooth": "99.0", "python": "4.0"}, "git": {"commit": "a", "changed": 3},
              "parameters": {"all": 12}, "tomorrow": {"a": [1, None]}, "machine": "one"},
    "empty": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", RECORDS)
def test_run_json_of_another_version_is_read(kind: str, tmp_path: Path) -> None:
    stored(tmp_path / "run", row())
    (tmp_path / "run" / "run.json").write_text(json.dumps(RECORDS[kind]))
    assert read_run(tmp_path / "run").parameters is None
    assert not sound_runs([tmp_path / "run"])[-1]
    shown = page_run("a", tmp_path / "run")
    assert shown["invsmooth"] == RECORDS[kind].get("versions", {}).get("invsmooth")


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (1, f"has format version 1; this invsmooth reads version {FILE_VERSION}"),
        (FILE_VERSION + 1, f"version {FILE_VERSION + 1}, made by a newer invsmooth; this one reads"),
        (10**19, "made by a newer invsmooth"),
        (f"{FILE_VERSION}", f"has format version '{FILE_VERSION}'; this"),
        ({"major": 2}, "has format version {'major': 2}; this"),
    ],
    ids=lambda v: str(v)[:20],
)
def test_certificate_files_of_another_version_are_refused_by_it(version: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": "invsmooth certificates", "version": version}))
    with pytest.raises(CertificateFileError) as error:
        read_record(path)
    assert message in str(error.value)
