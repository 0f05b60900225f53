"""A few of ``make kills`` (of sweeps: tests/sweeps/test_resume.py), and whether it would see what is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.kills.commands import Command, commands, difference
from tests.kills.kill import kill, undisturbed
from tests.kills.whole import half_written


@pytest.fixture(scope="module")
def known() -> Iterator[dict[str, Command]]:
    with commands() as found:
        yield {command.name: command for command in found}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "train in one folder", "report", "fetch an archive"])
def test_killed_and_started_again(known: dict[str, Command], name: str, tmp_path: Path) -> None:
    whole = undisturbed(known[name], tmp_path / "undisturbed")
    done = kill(known[name], whole, tmp_path / "killed", random.Random(f"0 {name}"))
    assert not done.wrong


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a/results.parquet", b"PAR1"),
        ("metrics.csv", b"epoch,step\n0,1\n0,"),
        ("metrics.csv", b"epoch,step\n0\n"),
        ("run.json", b'{"status": "run'),
        ("table.png", b"\x89PNG\r\n"),
        ("pictures/a.npz", b""),
        ("index.html", b"<html>"),
        ("figure.pdf", b"%PDF-1.4"),
        ("config.yaml", b""),
        ("checkpoints/last.ckpt", b"PK"),
    ],
)
def test_a_half_written_file_is_seen(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    (found,) = half_written(tmp_path)
    assert name in found


def test_a_difference_is_seen() -> None:
    one = {"rows": pd.DataFrame({"x": [1.0, 2.0]}), "a": "hash"}
    assert not difference(one, {"rows": pd.DataFrame({"x": [1.0, 2.0]}), "a": "hash"})
    assert "rows" in difference(one, one | {"rows": pd.DataFrame({"x": [1.0, 2.5]})})
    assert "rows" in difference(one, one | {"rows": pd.DataFrame({"x": [1.0]})})
    assert "a differs" in difference(one, one | {"a": "other"})
    assert "b" in difference(one, one | {"b": "hash"})
