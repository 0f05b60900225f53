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
from yaml import YAMLError

from invsmooth.core.files import write_text
from invsmooth.core.redact import redact
from invsmooth.sweeps.jobs import EARLIER, OUTPUT_SUBDIR, OVERRIDES, Note, notes

FAILED = "failed.json"
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
    number: int = -1

    @property
    def died(self) -> bool:
        return self.error == DIED


def failure(error: BaseException, exit_code: int) -> dict[str, Any]:
    return dict(redact({"error": f"{type(error).__name__}: {error}", "exit_code": exit_code}))


def write_failure(folder: Path, error: BaseException, exit_code: int) -> None:
    """Write the error of a job to its folder. It counts whatever run.json says. On a full disk this process remembers it."""
    failed = failure(error, exit_code)
    UNWRITTEN[folder.resolve()] = failed
    write_text(folder / FAILED, json.dumps(failed, indent=2))
    del UNWRITTEN[folder.resolve()]


def clear_failure(folder: Path, lost: Path | None = None) -> None:
    """A job that starts (again) has not failed, and is not lost (in the folder of that name)."""
    (folder / FAILED).unlink(missing_ok=True)
    UNWRITTEN.pop(folder.resolve(), None)
    shutil.rmtree(lost or folder.with_name(f"{job_number(folder)}_lost"), ignore_errors=True)


def write_lost(sweep: Path, number: int, overrides: Sequence[str], error: BaseException) -> None:
    """Write the error of a job that never started (cancelled in the queue) to ``NUMBER_lost``."""
    told: list[str] = redact(filter_overrides(overrides))
    if not any(n.number == number or shlex.join(redact(n.overrides)) == shlex.join(told) for n in jobs_of(sweep)):
        folder = sweep / f"{number}_lost"
        (folder / OUTPUT_SUBDIR).mkdir(parents=True, exist_ok=True)
        write_text(folder / OVERRIDES, OmegaConf.to_yaml(OmegaConf.create(told)))
        write_failure(folder, error, 1)


def outcomes(sweep: Path) -> list[Outcome]:
    return [outcome(note) for note in sorted(jobs_of(sweep), key=lambda n: (n.number, n.folder.name))]


def jobs_of(sweep: Path) -> list[Note]:
    """All jobs of this command that noted themselves (:mod:`invsmooth.sweeps.jobs`), and those that did not come so far."""
    found = list(notes(sweep))
    noted = {n.folder.resolve() for n in found}
    others = [p for p in sweep.glob(f"*/{OVERRIDES}") if p.parents[1].resolve() not in noted and not is_earlier(p)]
    return found + [Note(job_number(p.parents[1]), p.parents[1], noted_by_hydra(p)) for p in others]


def is_earlier(path: Path) -> bool:
    """Whether these overrides are of a job of an earlier command."""
    folder = path.parents[1].resolve()
    return folder in EARLIER and path.stat().st_mtime_ns == EARLIER[folder]


def of_earlier_commands(ended: Sequence[Outcome]) -> list[Path]:
    """Folders of jobs that the sweep had before, and this command has not."""
    own = {o.folder.resolve() for o in ended}
    return [folder for folder in EARLIER if folder not in own and folder.is_dir()]


def noted_by_hydra(path: Path) -> list[str]:
    """A file is read once: all of hundreds of jobs may be lost at a time."""
    try:
        return read_overrides(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, YAMLError):  # of a job that was killed as Hydra wrote it
        return []


@cache
def read_overrides(path: Path, mtime_ns: int) -> list[str]:
    return [str(o) for o in OmegaConf.load(path)]


def outcome(note: Note) -> Outcome:
    folder, overrides = note.folder, shlex.join(redact(note.overrides))
    if failed := note.failed or UNWRITTEN.get(folder.resolve()) or read_json(folder / FAILED):
        return Outcome(folder, overrides, str(failed.get("error", DIED)), failed.get("exit_code", 1), note.number)
    record = read_json(folder / "run.json")  # empty if the job died before it wrote any
    error = "" if record.get("status") == "finished" else str(record.get("error", DIED))
    return Outcome(folder, overrides, error, 1 if error else 0, note.number)


def read_json(path: Path) -> dict[str, Any]:
    """Empty if there is none, or a damaged one."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def job_number(folder: Path) -> int:
    """The number at the start of a folder's name; -1 if it has none."""
    number = folder.name.split("_")[0]
    return int(number) if number.isdigit() else -1


def summary(ended: Sequence[Outcome]) -> Iterator[str]:
    bad = [o for o in ended if o.exit_code]
    yield f"{len(ended) - len(bad)} of {len(ended)} jobs finished" + (f", {len(bad)} did not:" if bad else "")
    for o in bad:
        yield f"  {o.folder.name}: {o.overrides}"
        yield f"    folder: {o.folder}"
        yield f"    error: {indented(o.error)}"


def indented(error: str) -> str:
    return error.replace("\n", "\n      ")


def exit_code(ended: Sequence[Outcome]) -> int:
    """0 if all finished, 2 if the others all have user errors, else 1."""
    codes = {o.exit_code for o in ended} - {0}
    return 0 if not codes else 2 if codes == {2} else 1
