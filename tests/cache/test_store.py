from __future__ import annotations

import enum
import errno
import functools
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from invsmooth.cache import Results, Store, content_key


class Colour(enum.Enum):
    red = "red"


@dataclass
class Point:
    x: float
    y: float


BASE = {
    "a": 1,
    "b": [1.5, "text", None, True],
    "c": np.arange(3),
    "d": torch.zeros(2),
    "e": Point(1, 2),
    "f": Colour.red,
}


def test_equal_content_has_the_same_key_in_any_order() -> None:
    again = {k: BASE[k] for k in reversed(BASE)}
    assert content_key(again) == content_key(BASE)
    assert content_key({"p": Path("/a/b")}) == content_key({"p": "/a/b"})


@pytest.mark.parametrize(
    "change",
    [
        {"a": 2}, {"a": True}, {"a": "1"}, {"b": [1.5, "text", None]}, {"b": [1.5, "text", None, 1]}, {"c": np.arange(4)},
        {"c": np.arange(3, dtype=np.int32)}, {"c": np.arange(3)[None]}, {"d": torch.tensor([0.0, 1e-45])},
        {"d": torch.tensor([0.0, -0.0])}, {"e": Point(1, 3)}, {"f": "blue"}, {"g": 0}, {"d": torch.zeros(2).double()},
    ],
)  # fmt: skip
def test_other_content_has_another_key(change: dict) -> None:
    assert content_key(BASE | change) != content_key(BASE)


def test_what_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(TypeError, match="function"):
        content_key({"f": content_key})


def test_what_was_put_is_found_whole_or_not_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    assert store.get("kind", "aabb") is None
    store.put("kind", "aabb", b"payload")
    assert store.get("kind", "aabb") == b"payload"
    assert store.get("other", "aabb") is None
    path = store.path("kind", "aabb")
    whole = path.read_bytes()
    for damaged in (
        whole[:-1],
        whole[:10],
        b"",
        whole[:40] + bytes([whole[40] ^ 1 if len(whole) > 40 else 1]) + whole[41:],
    ):
        if damaged == whole:
            continue
        path.write_bytes(damaged)
        assert store.get("kind", "aabb") is None
        assert not path.exists()
    assert "is damaged" in caplog.text
    assert Store(None).get("kind", "aabb") is None


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.put("kind", "aabb", b"old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        store.put("kind", "aabb", b"new")
    monkeypatch.undo()
    assert store.get("kind", "aabb") == b"old"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["aabb"]


WATCHED: list[tuple[Path, Counter[str]]] = []  # by the audit hook, which stays for good


@functools.cache
def add_hook() -> None:
    def hook(event: str, arguments: tuple[object, ...]) -> None:
        for folder, found in WATCHED:
            if arguments and isinstance(arguments[0], str | Path) and Path(arguments[0]).is_relative_to(folder):
                found[event] += 1

    sys.addaudithook(hook)


@contextmanager
def operations(folder: Path) -> Iterator[Counter[str]]:
    """How often Python opens, renames, removes … something below ``folder`` in the block."""
    add_hook()
    WATCHED.append((folder, Counter()))
    try:
        yield WATCHED[-1][1]
    finally:
        WATCHED.clear()


def compute(folder: str) -> None:
    results = Results(Store(Path(folder)), {}, torch.device("cpu"))

    def slow() -> dict[str, torch.Tensor]:
        with (Path(folder) / "computed").open("a") as file:
            file.write("once\n")
        torch.manual_seed(0)
        return {"x": torch.rand(3)}

    results("kind", {"a": 1}, slow)


def test_processes_at_once_compute_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sweeps.preload"])
    processes = [context.Process(target=compute, args=(str(tmp_path),)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0] * 4
    assert (tmp_path / "computed").read_text() == "once\n"


def test_results_come_back_to_the_last_bit(tmp_path: Path) -> None:
    results = Results(Store(tmp_path), {"estimator": "a"}, torch.device("cpu"))
    made = {
        "x": torch.rand(2, 3),
        "d": torch.rand(4, dtype=torch.float64),
        "n": torch.tensor(5),
        "nan": torch.tensor([torch.nan]),
    }
    calls = Counter[str]()

    def compute() -> dict[str, torch.Tensor]:
        calls["n"] += 1
        return made

    for _ in range(3):
        found = results("kind", {"a": 1.0}, compute)
        assert {k: v.dtype for k, v in found.items()} == {k: v.dtype for k, v in made.items()}
        for k, v in made.items():
            torch.testing.assert_close(found[k], v, rtol=0, atol=0, equal_nan=True)
    assert calls["n"] == 1
    assert results.counts == {"kind computed": 1, "kind cached": 2}
    results("kind", {"a": 2.0}, compute)
    results("other", {"a": 1.0}, compute)
    results.within(torch.device("cpu"), operator="b")("kind", {"a": 1.0}, compute)
    Results(Store(tmp_path), {"estimator": "b"}, torch.device("cpu"))("kind", {"a": 1.0}, compute)
    assert calls["n"] == 5


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(errno.ENOLCK, "No locks available")])
def test_without_file_locks_work_goes_on(tmp_path: Path, monkeypatch, caplog, error: Exception) -> None:
    def fails(self: object, timeout: float = -1) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", fails)
    with Store(tmp_path).once("kind", "key"):
        pass
    assert "no file locks there" in caplog.text
    error = OSError(errno.EROFS, "Read-only file system")
    with pytest.raises(OSError, match="Read-only"), Store(tmp_path).once("kind", "key"):
        pass


def test_a_new_result_takes_few_file_operations_and_a_cached_one_an_open(tmp_path: Path) -> None:
    """On a file system that machines share each takes milliseconds. Python itself counts them."""
    results, made = Results(Store(tmp_path), {}, torch.device("cpu")), {"x": torch.zeros(3)}
    results("kind", {"a": 0}, lambda: made)  # makes folders
    first = results.store.path("kind", results.key("kind", {"a": 1}))
    first.parent.mkdir(exist_ok=True)
    with operations(tmp_path) as new:
        results("kind", {"a": 1}, lambda: made)
    assert new["open"] == 4  # look, lock, look again, write
    assert new.total() <= 7  # and rename it, remove the lock, see that there is a folder
    with operations(tmp_path) as cached:
        results("kind", {"a": 1}, lambda: made)
    assert cached == {"open": 1}
    assert [p.name for p in tmp_path.rglob("*") if p.suffix] == []  # no lock, no temporary file


def test_a_damaged_result_is_dropped_only_under_the_lock(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The process that holds the lock may have replaced it since it was read."""
    store = Store(tmp_path)
    store.put("kind", "aabb", b"payload")
    store.path("kind", "aabb").write_bytes(b"damaged")
    assert store.get("kind", "aabb", drop=False) is None
    assert store.has("kind", "aabb")
    assert not caplog.text
    with store.once("kind", "aabb"):
        assert store.get("kind", "aabb") is None
        assert not store.has("kind", "aabb")
        store.put("kind", "aabb", b"payload")
    assert store.get("kind", "aabb", drop=False) == b"payload"
