"""What is not what was kept is computed again, with a warning; whatever it is."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.cache import Like, Results, Store

KIND, OF = "errors", {"a": 1}
EXPECTED = {"errors": Like((2, None)), "mean": Like((), torch.float64), "n": Like((), torch.int64)}


def results(tmp_path: Path) -> Results:
    return Results(Store(tmp_path / "cache"), {}, torch.device("cpu"))


def good() -> dict[str, Tensor]:
    return {"errors": torch.rand(2, 3), "mean": torch.tensor(0.5, dtype=torch.float64), "n": torch.tensor(3)}


def npz(**changed: object) -> bytes:
    arrays = {k: v.numpy() for k, v in good().items()} | changed
    buffer = io.BytesIO()
    np.savez(buffer, **{k: v for k, v in arrays.items() if v is not None})
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 3)))
    return buffer.getvalue()


def folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)
    (path / "below" / "file").touch()


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def file_above(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


def another_entry(path: Path) -> None:
    """Whole, with its hash, but in the place of another key."""
    store = Store(path.parents[2])
    store.put(KIND, "0" * 32, npz())
    path.write_bytes(store.path(KIND, "0" * 32).read_bytes())


PAYLOADS = {
    "nothing": b"", "garbage": b"garbage", "npy": npy(), "no array": npz(n=None), "one array more": npz(m=np.zeros(1)),
    "objects": npz(errors=np.array([[{}], [{}]])), "shape": npz(errors=np.zeros((3, 2))), "axes": npz(errors=np.zeros(2)),
    "whole numbers": npz(errors=np.zeros((2, 3), int)), "other floats": npz(mean=np.float32(0)), "nan": npz(mean=np.nan),
    "infinite": npz(errors=np.full((2, 3), np.inf)), "text": npz(errors=np.array([["a"], ["b"]])), "cut off": npz()[:-40],
    "complex": npz(errors=np.zeros((2, 3), complex)),
}  # fmt: skip
PLACES: dict[str, Callable[[Path], object]] = {
    "folder": folder, "loop": loop, "file above": file_above, "empty": Path.touch, "other entry": another_entry,
    "short": lambda path: path.write_bytes(b"abc"), "dangling": lambda path: path.symlink_to("gone"),
}  # fmt: skip


def check_computed_again(own: Results, caplog: pytest.LogCaptureFixture, warns: bool = True) -> None:
    made = good()
    found = own(KIND, OF, lambda: made, EXPECTED)
    assert all(torch.equal(v, made[k]) for k, v in found.items())
    assert own.counts == {f"{KIND} computed": 1}
    if warns:
        assert f"{own.key(KIND, OF)} is damaged" in caplog.text
    again = own(KIND, OF, good, EXPECTED)
    assert all(torch.equal(v, made[k]) for k, v in again.items())
    assert own.counts[f"{KIND} cached"] == 1


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_right_hash_over_something_else(tmp_path: Path, caplog: pytest.LogCaptureFixture, payload: bytes) -> None:
    own = results(tmp_path)
    own.store.put(KIND, own.key(KIND, OF), payload)
    check_computed_again(own, caplog)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_something_else_in_the_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: Callable[[Path], object]
) -> None:
    own = results(tmp_path)
    path = own.store.path(KIND, own.key(KIND, OF))
    path.parent.mkdir(parents=True)
    place(path)
    check_computed_again(own, caplog, warns=place not in (file_above, PLACES["dangling"]))


def test_a_file_that_may_not_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    own = results(tmp_path)
    path = own.store.path(KIND, own.key(KIND, OF))
    path.parent.mkdir(parents=True)
    path.touch()
    read = Path.read_bytes

    def refuses(self: Path) -> bytes:
        if self == path and path.stat().st_size == 0:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuses)
    check_computed_again(own, caplog)


def test_something_in_the_place_of_a_lock(tmp_path: Path) -> None:
    own = results(tmp_path)
    folder(own.store.path(KIND, f"{own.key(KIND, OF)}.lock"))
    own(KIND, OF, good, EXPECTED)
    shutil.rmtree(tmp_path / "cache" / KIND)
    (tmp_path / "cache" / KIND).touch()
    own(KIND, OF | {"a": 2}, good, EXPECTED)
    assert own.counts == {f"{KIND} computed": 2}


def test_a_link_in_the_way_is_removed_and_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    outside = tmp_path / "outside"
    outside.write_text("mine")
    path = store.path(KIND, "ab")
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    store.put(KIND, "ab", b"x")
    assert (outside.read_text(), store.get(KIND, "ab")) == ("mine", b"x")
