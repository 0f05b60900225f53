"""No override ends in a stack trace, and none that is refused leaves a file. ``make fuzz``: 2,000 of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from invsmooth.config import parts
from tests.fuzz.overrides import BASES, Fuzz, commands, examine_arguments
from tests.processes import forked

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INVSMOOTH_ROOT", raising=False)
    yield
    GlobalHydra.instance().clear()


def traces(seed: int, count: int) -> list[str]:
    fuzz, found = Fuzz(seed), []
    for _ in range(count):
        number, overrides = fuzz.case()
        how, said = fuzz.examine(number, overrides)
        if how == "trace":
            found.append(f"{BASES[number]} {overrides}: {said[-500:]}")
    return found


def test_overrides_are_refused_with_a_message_or_allowed(tmp_path: Path) -> None:
    found = traces(seed=int(os.environ.get("FUZZ_SEED", "0")), count=int(os.environ.get("FUZZ_COUNT", "300")))
    assert not found, "\n\n".join(found)
    assert not [*tmp_path.iterdir()]


def test_arguments_are_refused_with_a_message_or_allowed(tmp_path: Path) -> None:
    """Of verify and data, and the options of Hydra's commands."""
    fuzz, found = Fuzz(int(os.environ.get("FUZZ_SEED", "0"))), dict[str, list[tuple[str, list[str], str]]]()
    for _ in range(int(os.environ.get("FUZZ_COUNT", "300"))):
        command, arguments = fuzz.argument()
        how, said = examine_arguments(command, arguments)
        found.setdefault(how, []).append((command, arguments, said[-500:]))
    assert found.keys() == {"refused", "allowed"}, found.get("trace")
    assert not [*tmp_path.iterdir()]


def test_the_fuzz_finds_a_check_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "value_errors", lambda *_: iter(()))
    assert traces(seed=0, count=40)


def test_what_the_checks_allow_runs(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    count = int(os.environ.get("FUZZ_RUNS", "8"))
    for number, overrides in enumerate(commands(int(os.environ.get("FUZZ_SEED", "0")), count)):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = forked("train", *overrides, cwd=folder, env=environment, timeout=120)
        said = f"{overrides[-1][:300]}: {done.returncode} {done.stderr[-1500:]}"
        assert done.returncode in (0, 2), said
        assert "Traceback" not in done.stderr, said
        assert done.returncode == 0 or not [*folder.iterdir()], said
