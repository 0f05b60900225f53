"""Every column of the rows says what it is, in the file and in the docs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from invsmooth.certificates.by_name import packaged
from invsmooth.records.dictionary import dictionary
from invsmooth.records.rows import SCHEMA, Declared, write_rows

EVERY = Declared({name: certifier.declared for name, certifier in packaged().items()})
PAGE = Path(__file__).parents[2] / "docs" / "columns.md"


def test_a_file_describes_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    write_rows(path, [], EVERY)
    schema = pq.read_schema(path)
    assert set(SCHEMA.names) < set(schema.names)
    for column in schema:
        assert column.metadata[b"description"], column.name
        assert b"unit" in column.metadata
    assert schema.field("psnr_clean").metadata[b"unit"] == b"dB"
    assert schema.field("bound").metadata[b"unit"] == b"MSE"
    done = subprocess.run(
        [sys.executable, "-m", "invsmooth.records.dictionary", str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == dictionary(EVERY.schema)


def test_the_docs_have_every_column() -> None:
    """Made with ``python -m invsmooth.records.dictionary`` from the rows of a run with certify=all."""
    assert dictionary(EVERY.schema) in PAGE.read_text(encoding="utf-8")


def test_no_file_is_a_clear_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invsmooth.records.dictionary", "nowhere"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "give a file of rows" in done.stderr
