"""Folders with links, and names of any kind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from invsmooth.core.errors import DataError
from invsmooth.data import image_files
from invsmooth.data.decode import read_pixels
from invsmooth.data.files import as_image_files
from tests.data.pictures import GREY, save


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "root"
    save(root / "b" / "own.png")
    save(tmp_path / "elsewhere" / "deep" / "far.png")
    (root / "a").symlink_to(root / "b")  # its images have the names of the folder itself
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "d").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "circle").symlink_to(root)
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path)
    (root / "e.png").symlink_to(root / "b" / "own.png")
    (tmp_path / "image").symlink_to(root)
    assert list(image_files(tmp_path / "image")) == ["b/own.png", "c/deep/far.png", "e.png"]


def test_what_is_no_image_though_named_so_is_named(tmp_path: Path) -> None:
    save(tmp_path / "ok.png")
    (tmp_path / "nowhere.PNG").symlink_to("none.png")
    (tmp_path / "one.png").symlink_to("two.png")
    (tmp_path / "two.png").symlink_to("one.png")
    (tmp_path / "folder").symlink_to(tmp_path / "unmounted")
    (tmp_path / "readme.txt").symlink_to("none.txt")  # no image, and none of ours
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError) as error:
        image_files(tmp_path)
    said = str(error.value)
    assert said.startswith("5 files cannot be used:")
    assert f"{tmp_path}/nowhere.PNG is a link to none.png, which leads nowhere" in said
    assert all(f"{tmp_path}/{name} is a link to" in said for name in ("one.png", "two.png", "folder"))
    assert f"{tmp_path}/pipe.png is no regular file" in said


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"a b, c=d [e] {f}.png", "a b, c=d [e] {f}.png"),
        ("ü像.png".encode(), "ü像.png"),
        (b"new\nline.png", "new\\nline.png"),
        (b"esc\x1b[31m.png", "esc\\x1b[31m.png"),
        ("\u202egnp.png".encode(), "\\u202egnp.png"),
        (b"bad\xff.png", "bad\\xff.png"),
    ],
)
def test_a_name_prints_on_one_line_in_utf8(tmp_path: Path, raw: bytes, shown: str) -> None:
    source = save(tmp_path / "source.png").read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/" + raw, "wb") as file:
        file.write(source)
    found = image_files(folder)
    assert list(found) == [shown]
    assert np.array_equal(read_pixels(found[shown]), GREY)
    assert str(found[shown]).isprintable()
    assert list(as_image_files({os.fsdecode(raw): GREY}, "mine")) == [shown]


def test_two_of_one_name(tmp_path: Path) -> None:
    save(tmp_path / "a\nb.png")
    save(tmp_path / "a\\nb.png")
    with pytest.raises(DataError, match="two images of the name 'a"):
        image_files(tmp_path)
