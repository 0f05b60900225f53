"""Rows that come one image after the other are written in a time that grows as they do."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from invsmooth.records import rows as records
from invsmooth.records.rows import GrowingRows, read_rows, write_rows
from tests.reporting.made import DECLARED, row


def test_all_writing_together_is_a_few_times_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(records, "replace_table", lambda path, table: written.append(len(table)))
    growing = GrowingRows(tmp_path / "results.parquet", DECLARED)
    part = [row(image=str(k)) for k in range(3)]
    for images in range(1, 401):
        growing.add(part)
        assert 1.1 * written[-1] > len(growing) == 3 * images
    growing.write()
    growing.write()
    assert written[:10] == [3 * k for k in range(1, 11)]
    assert written[-1] == 1200
    assert len(written) == len(set(written))
    assert sum(written) < 12 * 1200  # a geometric series; written at each image it were 200 times the last


def test_the_file_is_that_of_all_rows_at_once(tmp_path: Path) -> None:
    for name in ("growing", "whole"):
        (tmp_path / name).mkdir()
    growing = GrowingRows(tmp_path / "growing" / "results.parquet", DECLARED)
    rows = [row(image=str(k)) for k in range(25)]
    for k in range(25):
        growing.add(rows[k : k + 1])
    growing.write()
    write_rows(tmp_path / "whole" / "results.parquet", rows, DECLARED)
    found, expected = (read_rows([tmp_path / name])[0].drop(columns="folder") for name in ("growing", "whole"))
    pd.testing.assert_frame_equal(found, expected)
    paths = [tmp_path / name / "results.parquet" for name in ("growing", "whole")]
    assert pa.parquet.read_schema(paths[0]).equals(pa.parquet.read_schema(paths[1]), check_metadata=True)
