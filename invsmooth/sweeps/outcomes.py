"""How the jobs of a sweep ended, read from their folders: they may run in other processes."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.utils import filter_overrides
from omegaconf import OmegaConf

from invsmooth.core.files import write_text
from invsmooth.core.redact import redact

FAILED = "failed.json"
OUTPUT_SUBDIR = ".hydra"  # where Hydra writes the overrides of a job, in its folder
OVERRIDES = f"{OUTPUT_SUBDIR}/overrides.yaml"
DIED = "died and left no error: killed, out of memory, or its machine is gone"

UNWRITTEN: dict[Path, dict[str, Any]] = {}
"""Errors of jobs of this process that their disk has no room for, by folder."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    folder: Path
    overrides: str  # as one command line
    error: str = ""  # "" for a job that finished
    exit_code: int = 0  # 0 finished, 2 a user error, 1 anything else

    @property
    def died(self) -> bool:
        return self.error == DIED


def write_failure(folder: Path, error: BaseException, exit_code: int) -> None:
    """Write the error of a job to its folder. It counts whatever run.json says. On a full disk this process remembers it."""
    failed = redact({"error": f"{type(error).__name__}: {error}", "exit_code": exit_code})
    UNWRITTEN[folder.resolve()] = failed
    write_text(folder / FAILED, json.dumps(failed, indent=2))
    del UNWRITTEN[folder.resolve()]


def clear_failure(folder: Path) -> None:
    """A job that starts (again) has not failed, and is not lost."""
    (folder / FAILED).unlink(missing_ok=True)
    UNWRITTEN.pop(folder.resolve(), None)
    shutil.rmtree(folder.with_name(f"{job_number(folder)}_lost"), ignore_errors=True)


def write_lost(sweep: Path, number: int, overrides: Sequence[str], error: BaseException) -> None:
    """Write the error of a job that never started (cancelled in the queue) to ``NUMBER_lost``."""
    told: list[str] = redact(filter_overrides(overrides))
    known = sweep.glob(f"*/{OVERRIDES}")
    if not any(job_number(p.parents[1]) == number or command_line(p) == shlex.join(told) for p in known):
        folder = sweep / f"{number}_lost"
        (folder / OUTPUT_SUBDIR).mkdir(parents=True, exist_ok=True)
        write_text(folder / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(told)))
        write_failure(folder, error, 1)


def outcomes(sweep: Path) -> list[Outcome]:
    folders = [p.parents[1] for p in sweep.glob(f"*/{OVERRIDES}")]
    return [outcome(f) for f in sorted(folders, key=lambda f: (job_number(f), f.name))]


def command_line(path: Path) -> str:
    """The overrides of a job as one command line. A file is read once: all of hundreds of jobs may be lost at a time."""
    return command_line_at(path, path.stat().st_mtime_ns)


@cache
def command_line_at(path: Path, mtime_ns: int) -> str:
    return shlex.join(redact([str(o) for o in OmegaConf.load(path)]))


def outcome(folder: Path) -> Outcome:
    overrides = command_line(folder / OVERRIDES)
    if failed := UNWRITTEN.get(folder.resolve()) or read_json(folder / FAILED):
        return Outcome(folder, overrides, failed["error"], failed["exit_code"])
    record = read_json(folder / "run.json")  # empty if the job died before it wrote any
    finished = record.get("status") == "finished"
    return Outcome(folder, overrides) if finished else Outcome(folder, overrides, record.get("error", DIED), 1)


def read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def job_number(folder: Path) -> int:
    """The number at the start of a folder's name; -1 if ``hydra.sweep.subdir`` has none."""
    number = folder.name.split("_")[0]
    return int(number) if number.isdigit() else -1


def summary(ended: Sequence[Outcome]) -> Iterator[str]:
    bad = [o for o in ended if o.exit_code]
    yield f"{len(ended) - len(bad)} of {len(ended)} jobs finished" + (f", {len(bad)} did not:" if bad else "")
    for o in bad:
        yield f"  {o.folder.name}: {o.overrides}"
        yield f"    folder: {o.folder}"
        yield "    error: " + o.error.replace("\n", "\n      ")


def exit_code(ended: Sequence[Outcome]) -> int:
    """0 if all finished, 2 if the others all have user errors, else 1."""
    codes = {o.exit_code for o in ended} - {0}
    return 0 if not codes else 2 if codes == {2} else 1
