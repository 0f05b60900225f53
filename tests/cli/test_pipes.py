"""``| head -1``: a command whose output nobody reads any more ends in silence; nothing is half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_environment import ENVIRONMENT
from tests.fuzz.overrides import TINY
from tests.reporting.made import row, stored


def piped(folder: Path, module: str, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command whose stdout is a pipe that is closed already."""
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", f"invsmooth.{module}", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, stdout=writes, stderr=subprocess.PIPE, text=True, timeout=200
    )
    os.close(writes)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "report runs=run", "verify run", "data list --root=none",
        "train --help", "train --cfg job", "audit --help",
    ],
)  # fmt: skip
def test_a_closed_pipe_ends_a_command_in_silence(command: str, tmp_path: Path) -> None:
    stored(tmp_path / "run", row(eps=0.1, sigma=25.0))
    (tmp_path / "run" / "certificates").mkdir()
    (tmp_path / "run" / "certificates" / "a.json").write_text("{}")
    assert piped(tmp_path, *command.split(" ")) == (141, "")
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith(".tmp")]


@pytest.mark.slow
@pytest.mark.parametrize("sweep", [(), ("--multirun", "seed=0,1")])
def test_a_run_and_a_sweep(sweep: tuple[str, ...], tmp_path: Path) -> None:
    """The first line of the log cannot be written: the work has not begun."""
    assert piped(tmp_path, "train", *sweep, *TINY) == (141, "")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "multirun.yaml"]


def test_a_message_of_an_error_is_still_said(tmp_path: Path) -> None:
    code, said = piped(tmp_path, "train", "alog=ord")
    assert code == 2
    assert said.startswith("error: alog is no key of the config")
