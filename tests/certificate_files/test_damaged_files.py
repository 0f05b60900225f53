"""``verify FOLDER`` with files that are none: each is named on one line, the others are checked. A report does not mind."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invsmooth.records.certificate_files.format import FOLDER, find_files
from invsmooth.reporting import report
from invsmooth.verify import run
from tests.certificate_files.made import make
from tests.reporting.made import row, stored

GARBAGE = 100 * 10**6  # bytes


def garbage(start: bytes, part: bytes, end: bytes = b"") -> Callable[[Path, bytes], object]:
    return lambda path, _: path.write_bytes(start + part * (GARBAGE // len(part)) + end)


def field(name: str, value: Any) -> Callable[[Path, bytes], object]:
    return lambda path, good: path.write_text(json.dumps(json.loads(good) | {name: value}))


def link(target: str) -> Callable[[Path, bytes], object]:
    return lambda path, _: path.symlink_to(target)


DAMAGE: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "empty": (lambda path, _: path.touch(), "is no whole JSON file"),
    "cut off": (lambda path, good: path.write_bytes(good[:-200]), "is no whole JSON file"),
    "certificates": (field("certificates", 5), "certificates: 5 is no list"),
    "image": (field("image", None), "image: None is no object"),
    "measurements": (field("measurements", []), "measurements: [] is no object"),
    "operator": (field("operator", "x"), "operator: 'x' is no object"),
    "sigma_b": (field("sigma_b", "25"), "sigma_b: '25' is not a number"),
    "sha256": (field("sha256", None), "sha256: None is not a text"),
    "version": (field("version", "9" * 10**6), "has format version '999"),
    "folder": (lambda path, _: path.mkdir(), "is a folder, no file"),
    "to nothing": (link("gone.json"), "is a link to gone.json, which is not there"),
    "to nothing elsewhere": (link("../elsewhere/gone.json"), "is a link to ../elsewhere/gone.json, which is not there"),
    "to itself": (link("to itself.json"), "is a link to to itself.json, which is not there"),
    "not allowed": (lambda path, good: path.write_bytes(good), "cannot be read: Permission denied"),
    "pipe": (lambda path, _: os.mkfifo(path), "there is no such file"),
    "bytes": (garbage(b"", random.Random(0).randbytes(10**6)), "cannot be read as text"),
    "numbers": (garbage(b"[", b"1,", b"1]"), "is no certificate file"),
    "one text": (garbage(b'{"format": "', b"a", b'"}'), "is no certificate file"),
    "Latin-1": (lambda path, good: path.write_bytes(good.decode().encode("latin-1")), "cannot be read as text"),
}


def refuse(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """A file or folder without permission, also for a test that runs as root."""
    for owner, name in ((Path, "read_text"), (os, "scandir"), (os, "listdir")):
        original = getattr(owner, name)

        def refused(given: Any, *args: Any, original: Any = original, **options: Any) -> Any:
            if os.fspath(given) == os.fspath(path):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(given))
            return original(given, *args, **options)

        monkeypatch.setattr(owner, name, refused)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    make(folder, "error")
    return folder


def test_each_is_named_and_the_others_are_checked(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    files = find_files([str(folder)])
    for name, (damage, _) in DAMAGE.items():
        damage(folder / FOLDER / f"{name}.json", files[0].read_bytes())
    (folder / FOLDER / os.fsdecode(b"\xff.json")).write_bytes(files[0].read_bytes())
    refuse(monkeypatch, folder / FOLDER / "not allowed.json")
    started = time.perf_counter()
    assert run([str(folder)]) == 2
    assert time.perf_counter() - started < 30
    out = capsys.readouterr().out
    for name, (_, why) in DAMAGE.items():
        assert f"WRONG  {folder / FOLDER / name}.json: {why}" in out
    assert "/\\udcff.json: a_b ç, 1 certificates" in out
    assert f"{len(DAMAGE) + 3} files, 3 hold up with 3 certificates, {len(DAMAGE)} do not" in out
    assert max(map(len, out.splitlines())) < 1500
    stored(folder, row())
    report([folder], tmp_path / "report")
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_folder_that_may_not_be_read_is_named(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("0", "1"):
        shutil.copytree(made, tmp_path / "sweep" / name)
    (tmp_path / "sweep" / "run.json").write_text("{}")
    closed = tmp_path / "sweep" / "1" / FOLDER
    refuse(monkeypatch, closed)
    assert run([str(tmp_path / "sweep")]) == 2
    out = capsys.readouterr().out
    assert f"WRONG  {closed}: cannot be read: Permission denied" in out
    assert "3 files, 2 hold up with 2 certificates, 1 do not" in out


def test_links_to_files_and_folders_elsewhere_are_followed(made: Path, tmp_path: Path) -> None:
    """Not passed over in silence."""
    (tmp_path / "files" / FOLDER).mkdir(parents=True)
    for file in (made / FOLDER).glob("*.json"):
        (tmp_path / "files" / FOLDER / file.name).symlink_to(file)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / FOLDER).symlink_to(made / FOLDER)
    (tmp_path / "folder" / "run.json").write_text("{}")
    for name in ("files", "folder"):
        found = find_files([str(tmp_path / name)])
        assert len(found) == 2
        assert {f.resolve().parent for f in found} == {made / FOLDER}
