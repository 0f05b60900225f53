"""Cells of the cache that are damaged or foreign are computed again; nothing is written outside the run's folder."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from invsmooth.cache import Store
from invsmooth.cache.store import pack, unpack
from invsmooth.evaluation.result_cache import write_files
from tests.sweeps.test_plan import Runs, rows

GRID = ["certify=error", "attack.eps=0.1", "certify.sigma=25", "operator.ratio=0.3", "operator.train_ratio=0.3",
        "data.limit=1", "certify.pictures=1"]  # fmt: skip
ROWS = "rows.parquet"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A cache with the cells of one image, and their rows."""
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        found = rows(Runs(folder, patch)(*GRID))
    return folder / "cache", found


@pytest.fixture
def run(computed: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    shutil.copytree(computed[0], tmp_path / "cache")
    return Runs(tmp_path, monkeypatch)


def table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Files], Files]:
    def changed(files: Files) -> Files:
        buffer = io.BytesIO()
        pq.write_table(change(pq.read_table(io.BytesIO(files[ROWS]))), buffer)
        return files | {ROWS: buffer.getvalue()}

    return changed


def column(name: str, values: pa.Array) -> Callable[[Files], Files]:
    return table(lambda t: t.set_column(t.schema.get_field_index(name), name, values))


def each(suffix: str, content: bytes) -> Callable[[Files], Files]:
    return lambda files: {k: content if k.endswith(suffix) else v for k, v in files.items()}


def objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, clean=np.array([{}]))
    return buffer.getvalue()


def cut(suffix: str) -> Callable[[Files], Files]:
    return lambda files: {k: v[: len(v) // 2] if k.endswith(suffix) else v for k, v in files.items()}


CHANGES: dict[str, Callable[[Files], Files]] = {
    "no rows": lambda files: {k: v for k, v in files.items() if k != ROWS},
    "rows are garbage": lambda files: files | {ROWS: b"garbage"},
    "a column less": table(lambda t: t.drop_columns(["bound"])),
    "a column more": table(lambda t: t.append_column("more", pa.array([1] * len(t)))),
    "another type": column("bound", pa.array([1])),
    "rows of another image": column("image", pa.array(["another"])),
    "rows of another eps": column("eps", pa.array([0.2])),
    "rows twice": table(lambda t: pa.concat_tables([t, t])),
    "rows none": table(lambda t: t.slice(0, 0)),
    "a file less": lambda files: {k: v for k, v in files.items() if not k.endswith(".json")},
    "a file more": lambda files: files | {"checkpoints/best.ckpt": next(v for k, v in files.items() if k.endswith(".npz"))},
    "a file above": lambda files: files | {"../../../escaped": b"x"},
    "a file elsewhere": lambda files: files | {"/tmp/invsmooth-escaped": b"x"},
    "no certificate": each(".json", b"garbage"),
    "another JSON": each(".json", b'["estimator", "operator"]'),
    "objects": each(".npz", objects()),
    "rows cut off": cut(".parquet"), "arrays cut off": cut(".npz"), "a certificate cut off": cut(".json"),
}  # fmt: skip


def entry_of(cache: Path) -> tuple[Store, str]:
    (path,) = (p for p in (cache / "cells").rglob("*") if p.is_file())
    return Store(cache), path.name


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_no_entry_of_ours_is_computed_again(
    run: Runs, computed: tuple[Path, pd.DataFrame], caplog: pytest.LogCaptureFixture, change: Callable[[Files], Files]
) -> None:
    store, key = entry_of(run.folder / "cache")
    kept = store.get("cells", key)
    assert kept is not None
    store.put("cells", key, pack(change(unpack(kept))))
    folder = run(*GRID)
    assert f"{key} is damaged" in caplog.text
    pd.testing.assert_frame_equal(rows(folder), computed[1])
    assert json.loads((folder / "run.json").read_text())["cells"]["cells computed"] == 1
    assert list(folder.glob("certificates/*.json"))
    assert not list(run.folder.rglob("escaped"))
    assert not Path("/tmp/invsmooth-escaped").exists()
    assert {p.name for p in run.folder.iterdir()} == {"1", "cache", "some.ckpt"}
    assert not (folder / "checkpoints").exists()


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "below").mkdir(parents=True)
    (path / "below" / "file").touch()


def a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


PLACES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""), "cut off": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "folder": a_folder, "loop": a_loop, "not allowed": lambda path: path.chmod(0),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_entry_is_damaged_and_computed_again(
    run: Runs, computed: tuple[Path, pd.DataFrame], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:  # fmt: skip
    """Those of attacks and draws, too."""
    entries = [p for p in (run.folder / "cache").rglob("*") if p.is_file() and p.parent.parent.name != "trainings"]
    assert {"cells", "attack", "errors"} == {p.parent.parent.name for p in entries}
    for path in entries:
        PLACES[place](path)
    read, closed = Path.read_bytes, {p: p.lstat().st_ino for p in entries}

    def refuses(self: Path) -> bytes:  # for a test that runs as root
        if self in closed and os.path.lexists(self) and self.lstat().st_ino == closed[self]:
            raise PermissionError(13, "Permission denied")
        return read(self)

    if place == "not allowed":
        monkeypatch.setattr(Path, "read_bytes", refuses)
    folder = run(*GRID)
    pd.testing.assert_frame_equal(rows(folder), computed[1])
    counts = json.loads((folder / "run.json").read_text())["cells"]
    assert counts["cells computed"] == 1
    assert not [name for name in counts if name.endswith("cached")]
    assert all(f"{path} is damaged" in caplog.text for path in entries)
    again = run(*GRID)
    assert json.loads((again / "run.json").read_text())["cells"] == {"cells cached": 1}


def test_an_entry_that_is_ours_is_used(run: Runs, computed: tuple[Path, pd.DataFrame]) -> None:
    """So that the test above is about the changes."""
    folder = run(*GRID)
    assert json.loads((folder / "run.json").read_text())["cells"] == {"cells cached": 1}
    pd.testing.assert_frame_equal(rows(folder), computed[1])


def test_a_folder_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "certificates").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no file in the run's folder"):
        write_files(tmp_path / "run", {"certificates/a.json": b""})
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/tmp/x", "C:x", "C:\\x", "\\\\host\\x", "a\\..\\..\\x", "a\0b", "", ".", "full"]
)
def test_nothing_is_restored_if_one_name_leads_out(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    (folder / "full").mkdir(parents=True)
    with pytest.raises(ValueError, match="no file in the run's folder"):
        write_files(folder, {"fine": b"", name: b""})
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "full"]
    write_files(folder, {"fine": b"", "a/..b": b""})
    assert (folder / "a" / "..b").is_file()
