"""Damaged audits: the report leaves them out by name, and reports the others."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from invsmooth.core.errors import ConfigError
from invsmooth.records.audits import (
    AUDIT,
    FRONTIER,
    NUMBERS,
    NUMBERS_OF_PROBLEM,
    TEXTS,
    TEXTS_OF_PROBLEM,
    read_audits,
    write_audit,
)
from invsmooth.report import find_runs
from invsmooth.reporting import report
from invsmooth.reporting.damage import DamagedRuns
from tests.reporting.made import row, stored


def audit(folder: Path) -> Path:
    folder.mkdir()
    curve = [
        dict.fromkeys(TEXTS_OF_PROBLEM, "a") | dict.fromkeys(NUMBERS_OF_PROBLEM, 1) | {"psnr": 30.0, "constant": 1.0}
    ]
    write_audit(folder, [dict.fromkeys(TEXTS, "a") | dict.fromkeys(NUMBERS, 1.0)], curve)
    return folder


def changed(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    return lambda folder: change(pd.read_parquet(folder / name)).to_parquet(folder / name)


def a_folder(folder: Path) -> None:
    (folder / AUDIT).unlink()
    (folder / AUDIT).mkdir()


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage": (lambda f: (f / AUDIT).write_text("garbage"), "audit.parquet: cannot be read"),
    "empty": (lambda f: (f / AUDIT).write_text(""), "audit.parquet: cannot be read"),
    "cut off": (lambda f: (f / AUDIT).write_bytes((f / AUDIT).read_bytes()[:900]), "audit.parquet: cannot be read"),
    "a folder": (a_folder, "audit.parquet: "),
    "columns": (changed(AUDIT, lambda t: t.drop(columns=["found", "verdict"])), "lacks the columns verdict, found"),
    "types": (changed(AUDIT, lambda t: t.assign(found="x", task=1)), "other types than invsmooth writes: task, found"),
    "no frontier": (lambda f: (f / FRONTIER).unlink(), "frontier.parquet: cannot be read"),
    "frontier types": (changed(FRONTIER, lambda t: t.assign(psnr="x")), "other types than invsmooth writes: psnr"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_audit_is_left_out_by_name(name: str, tmp_path: Path) -> None:
    damage, said = DAMAGE[name]
    audit(tmp_path / "good")
    damage(audit(tmp_path / "bad"))
    with pytest.raises(DamagedRuns, match="left out of the report, because it is damaged:\n") as error:
        report(find_runs([str(tmp_path)]), tmp_path / "out")
    assert f"{tmp_path / 'bad'}/" in str(error.value)
    assert said in str(error.value)
    assert (tmp_path / "out" / "audit.md").read_text().count("\n| a |") == 1
    with pytest.raises(ConfigError, match="none of the audits can be used:\n"):
        report([tmp_path / "bad"], tmp_path / "none")


def test_a_damaged_audit_beside_runs(tmp_path: Path) -> None:
    stored(tmp_path / "run", row())
    (audit(tmp_path / "bad") / AUDIT).write_text("garbage")
    with pytest.raises(DamagedRuns, match=r"bad/audit\.parquet: cannot be read"):
        report(find_runs([str(tmp_path)]), tmp_path / "out")
    assert (tmp_path / "out" / "table.md").is_file()


def test_any_damaged_byte_is_read_or_named(tmp_path: Path) -> None:
    path, draw = audit(tmp_path / "a") / AUDIT, random.Random(0)
    content, refused = path.read_bytes(), 0
    for _ in range(1000):
        changed_bytes = bytearray(content)
        for place in draw.sample(range(len(content)), draw.choice((1, 2, 20))):
            changed_bytes[place] = draw.randrange(256)
        path.write_bytes(changed_bytes)
        damaged: dict[Path, str] = {}
        read_audits([path.parent], damaged)
        refused += path in damaged
    assert refused > 100
