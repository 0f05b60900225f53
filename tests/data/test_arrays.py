from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from invsmooth.core.errors import DataError
from invsmooth.data import arrays, image_files, in_memory, load, read_image
from tests.data.pictures import GREY, noise, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(20):
        save(tmp_path / "images" / f"{k:02}.png", noise(k, 20 + k, 30))
    return tmp_path / "images"


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every set counts as a large one."""
    monkeypatch.setattr(arrays, "CACHED_FROM", 0)


def test_images_keep_their_names_order_and_pixels(folder: Path, tmp_path: Path) -> None:
    found = load(image_files(folder), tmp_path / "cache")
    assert found.names == tuple(f"{k:02}.png" for k in range(20))
    assert found.pixels.dtype == np.uint8
    for k in (0, 7, 19):
        assert torch.equal(found.image(k), read_image(folder / f"{k:02}.png"))
    assert not (tmp_path / "cache").exists()  # a small set is decoded faster than it is looked up


@pytest.mark.usefixtures("cached")
def test_a_large_set_is_prepared_once_and_mapped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(image_files(folder), tmp_path / "cache")
    plain = in_memory({p.name: noise(k, 20 + k, 30) for k, p in enumerate(sorted(folder.iterdir()))})
    assert isinstance(first.pixels, np.memmap)
    assert np.array_equal(first.pixels, plain.pixels)
    assert (first.names, first.sha256) == (plain.names, plain.sha256)
    assert np.array_equal(first.offsets, plain.offsets)

    def decode(file: object) -> None:
        raise AssertionError(f"{file} is decoded again")

    monkeypatch.setattr(arrays, "read_pixels", decode)
    again = load(image_files(folder), tmp_path / "cache")
    assert torch.equal(again.image(3), first.image(3))


@pytest.mark.usefixtures("cached")
def test_the_key_is_the_content(folder: Path, tmp_path: Path) -> None:
    """Another date or place changes nothing; another pixel, though of the same size and date, does once it is noticed."""
    cache = tmp_path / "cache"
    load(image_files(folder), cache)
    os.utime(folder / "03.png", (1, 1))
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in folder.iterdir():
        (copied / path.name).write_bytes(path.read_bytes())
    load(image_files(folder), cache)
    load(image_files(copied), cache)
    assert len(list(cache.glob("*/index.json"))) == 1
    save(folder / "03.png", noise(99, 23, 30))
    changed = load(image_files(folder), cache)
    assert len(list(cache.glob("*/index.json"))) == 2
    assert torch.equal(changed.image(3), read_image(folder / "03.png"))


def test_sixteen_bit_images_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "images" / "a.png")
    deep = (GREY.astype(np.uint16) << 8) + 77
    save(tmp_path / "images" / "b.png", deep)
    for limit in (0, 1 << 40):  # on the disk and in memory
        monkeypatch.setattr(arrays, "CACHED_FROM", limit)
        found = load(image_files(tmp_path / "images"), tmp_path / "cache")
        assert found.pixels.dtype == np.float32
        for k, name in enumerate("ab"):
            torch.testing.assert_close(found.image(k), read_image(tmp_path / "images" / f"{name}.png"))


def test_unreadable_files_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    whole = save(tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 3 images") as error:
        load(image_files(tmp_path), tmp_path / "cache")
    assert "text.png" in str(error.value)
    assert "cut.png" in str(error.value)


@pytest.mark.usefixtures("cached")
def test_a_failed_or_killed_preparation_leaves_nothing_that_looks_whole(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    whole = (folder / "05.png").read_bytes()
    (folder / "05.png").write_bytes(whole[:50])
    with pytest.raises(DataError, match=r"1 of 20 images"):
        load(image_files(folder), cache)
    assert not list(cache.glob("*/"))
    (folder / "05.png").write_bytes(whole)
    key = arrays.content_key(image_files(folder), cache / "digests.json")
    (cache / f".{key}.12345").mkdir()  # as a process leaves it that is killed in the middle
    (cache / f".{key}.12345" / "pixels").write_bytes(b"half")
    assert len(load(image_files(folder), cache)) == 20
    assert [p.name for p in cache.iterdir() if p.is_dir()] == [key]


@pytest.mark.usefixtures("cached")
def test_a_mapped_set_is_sent_to_processes_by_its_name(folder: Path, tmp_path: Path) -> None:
    found = load(image_files(folder), tmp_path / "cache")
    sent = pickle.dumps(found)
    assert len(sent) < found.pixels.nbytes / 2
    assert torch.equal(pickle.loads(sent).image(5), found.image(5))


def test_pictures_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    """The same picture in another format and under another name is the same; of another shape it is not."""
    save(tmp_path / "a.png")
    save(tmp_path / "b.tif", GREY, "P")
    save(tmp_path / "c.png", GREY.reshape(10, 12))
    digests = load(image_files(tmp_path), tmp_path / "cache").sha256
    assert digests[0] == digests[1] != digests[2]
