"""Damaged run folders: the report leaves them out by name, reports the others, and ends with an error."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invsmooth.core.errors import ConfigError
from invsmooth.report import find_runs
from invsmooth.reporting import report
from invsmooth.reporting.damage import DamagedRuns, listed, sound_runs
from tests.reporting.made import keep_pictures, row, stored

HUGE = "9" * 5000


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch RAN",)


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def rows(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "results.parquet"
        pq.write_table(change(pq.read_table(path)), path)

    return changed


def column(name: str, value: object) -> Callable[[Path], None]:
    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(name)
        return table.set_column(at, table.field(at), pa.array([value] * len(table), table.field(at).type))

    return rows(change)


def retyped(table: pa.Table) -> pa.Table:
    at = table.column_names.index("eps")
    return table.set_column(at, "eps", pa.array(["abc"] * len(table)))


def a_link_to_nothing(folder: Path) -> None:
    (folder / "results.parquet").unlink()
    (folder / "results.parquet").symlink_to("gone.parquet")


def truncated(folder: Path) -> None:
    path = folder / "results.parquet"
    path.write_bytes(path.read_bytes()[:3000])


def a_folder(folder: Path) -> None:
    (folder / "results.parquet").unlink()
    (folder / "results.parquet").mkdir()


def picture(**arrays: np.ndarray) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for path in (folder / "pictures").glob("*.npz"):
            np.savez(path, **arrays) if arrays else path.write_bytes(b"x")

    return write


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "rows: garbage": (text("results.parquet", "garbage"), "results.parquet"),
    "rows: empty file": (text("results.parquet", ""), "results.parquet"),
    "rows: truncated": (truncated, "results.parquet"),
    "rows: a folder": (a_folder, "results.parquet"),
    "rows: a link to nothing": (a_link_to_nothing, "results.parquet"),
    "rows: none": (rows(lambda table: table.slice(0, 0)), "has no rows"),
    "rows: other columns": (rows(lambda table: table.drop_columns(["eps", "bound"])), "lacks the columns bound, eps"),
    "rows: other types": (rows(retyped), "other types than invsmooth writes: eps"),
    "rows: no declarations": (rows(lambda table: table.replace_schema_metadata()), "does not declare"),
    "rows: inf": (column("eps", np.inf), "eps = inf"),
    "rows: negative": (column("sigma", -5.0), "sigma = -5.0"),
    "rows: negative radius": (column("eps", -1.0), "eps = -1.0"),
    "rows: units": (column("units", "bogus"), "units = bogus"),
    "rows: certifier": (column("certifier", "bogus"), "certifier = bogus"),
    "config: no mapping": (text("config.yaml", "- a\n"), "config.yaml is no config"),
    "config: a class": (
        text("config.yaml", "a: !!python/object/apply:os.system ['touch RAN']\n"),
        "config.yaml is no YAML",
    ),
    "config: itself": (text("config.yaml", "a: &a\n  b: *a\n"), "config.yaml contains itself"),
    "config: digits": (text("config.yaml", f"seed: {HUGE}\n"), "config.yaml is no YAML"),
    "record: a list": (text("run.json", "[1]"), "run.json is no record"),
    "record: versions": (text("run.json", '{"versions": "abc"}'), "run.json is no record"),
    "record: depth": (text("run.json", "[" * 100_000), "run.json is no record"),
    "record: nan": (text("run.json", '{"seed": NaN}'), "run.json is no record"),
    "metrics: words": (text("metrics.csv", "step,train/seconds_per_batch\n1,abc\n"), "metrics.csv has no numbers"),
    "picture: garbage": (picture(), ".npz"),
    "picture: pickle": (picture(clean=np.array([Evil()], dtype=object)), ".npz"),
    "picture: shape": (picture(clean=np.zeros(5, np.uint8)), "no pictures of one image"),
    "picture: type": (picture(clean=np.zeros((4, 4))), "other types"),
    "picture: half an interval": (picture(clean=np.zeros((4, 4), np.uint8), lower=np.zeros((4, 4))), "intervals"),
}


def run_folder(folder: Path, **values: object) -> Path:
    stored(folder, *(row(eps=eps, sigma=25.0, **values) for eps in (0.1, 0.2)))
    keep_pictures(folder, 0.1, 25.0)
    return folder


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_damaged_one_is_left_out_by_name(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    damage, why = DAMAGE[kind]
    good, bad = (
        run_folder(tmp_path / "good", run_id="good"),
        run_folder(tmp_path / "bad[1]", run_id="bad", task="other"),
    )
    damage(bad)
    rows, _, runs, damaged = sound_runs([bad, good])
    assert why in listed(damaged)
    assert all(bad in (path, *path.parents) for path in damaged)
    assert set(rows["run_id"]) == ({"good", "bad"} if kind.startswith("picture") else {"good"})
    assert set(runs) == set(rows["folder"])
    assert not list(tmp_path.rglob("RAN"))


def test_the_others_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = ("rows: truncated", "record: nan", "metrics: words", "picture: shape", "picture: pickle")
    folders = [run_folder(tmp_path / f"bad{k}", run_id=f"bad{k}") for k in range(len(kinds))]
    for kind, folder in zip(kinds, folders, strict=True):
        DAMAGE[kind][0](folder)
    good = run_folder(tmp_path / "good", run_id="good")
    with pytest.raises(DamagedRuns, match="left out of the report") as error:
        report([*folders, good], tmp_path / "report")
    assert all(str(folder) in str(error.value) for folder in folders)
    assert str(good) not in str(error.value)
    assert set(pd.read_csv(tmp_path / "report" / "tables" / "runs.csv")["run_id"]) == {"good", "bad3", "bad4"}
    assert (tmp_path / "report" / "index.html").is_file()
    assert not list(tmp_path.rglob("RAN"))


def test_only_damaged_ones_are_an_error_and_no_report(tmp_path: Path) -> None:
    bad = run_folder(tmp_path / "bad")
    truncated(bad)
    with pytest.raises(ConfigError, match="none of the runs can be used"):
        report([bad], tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_rows_of_a_damaged_job_are_in_its_sweep(tmp_path: Path) -> None:
    sweep, job = run_folder(tmp_path / "sweep", run_id="a"), run_folder(tmp_path / "sweep" / "0", run_id="a")
    assert set(sound_runs([sweep, job])[0]["folder"]) == {str(job)}
    text("run.json", "[1]")(job)
    rows, _, _, damaged = sound_runs([sweep, job])
    assert set(rows["folder"]) == {str(sweep)}
    assert list(damaged) == [job]


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = run_folder(tmp_path / "good", run_id="good"), run_folder(tmp_path / "bad", run_id="bad")
    listing, read = os.scandir, pq.ParquetFile

    def refused(path: Any, original: Any) -> Any:  # as for a user who is not root
        if bad in (Path(path), *Path(path).parents):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", lambda path: refused(path, listing))
    monkeypatch.setattr(pq, "ParquetFile", lambda path: refused(path, read))
    assert find_runs([str(tmp_path)]) == [bad, good]
    rows, _, _, damaged = sound_runs(find_runs([str(tmp_path / "*")]))
    assert set(rows["run_id"]) == {"good"}
    assert "Permission denied" in damaged[bad / "results.parquet"]
    with pytest.raises(ConfigError, match="none of the runs can be used"):
        sound_runs(find_runs([str(bad)]))
