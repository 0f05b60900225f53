"""How the jobs of a sweep ended, read from their folders: the process that started a job may be another than it ran in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from invsmooth.core.redact import redact
from invsmooth.records.run_record import write_text

FAILED = "failed.json"
OUTPUT_SUBDIR = ".hydra"
"""Where Hydra says in each job's folder what the job was."""
DIED = "died and left no error: killed, out of memory, or its machine is gone"


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        folder: of the job.
        overrides: of the job, as one command line.
        error: "" for a job that finished.
        exit_code: 0 finished, 2 a mistake of the user's, 1 anything else.
    """

    folder: Path
    overrides: str
    error: str
    exit_code: int

    @property
    def died(self) -> bool:
        return self.error == DIED


def write_failure(folder: Path, error: BaseException, exit_code: int) -> None:
    """Note in a job's folder why it failed, whatever it came to before."""
    kind = type(error).__name__
    write_text(folder / FAILED, json.dumps(redact({"error": f"{kind}: {error}", "exit_code": exit_code}), indent=2))


def clear_failure(folder: Path) -> None:
    """A job that starts (again) has not failed."""
    (folder / FAILED).unlink(missing_ok=True)


def outcomes(sweep: Path) -> list[Outcome]:
    """Those of all jobs that started, by their number."""
    folders = [p.parents[1] for p in sweep.glob(f"*/{OUTPUT_SUBDIR}/overrides.yaml")]
    return [outcome(f) for f in sorted(folders, key=lambda f: (job_number(f), f.name))]


def outcome(folder: Path) -> Outcome:
    overrides = shlex.join(redact([str(o) for o in OmegaConf.load(folder / OUTPUT_SUBDIR / "overrides.yaml")]))
    try:
        failed = json.loads((folder / FAILED).read_text(encoding="utf-8"))
        return Outcome(folder, overrides, failed["error"], failed["exit_code"])
    except FileNotFoundError:
        pass
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:  # it died before it got so far
        record = {}
    if record.get("status") == "finished":
        return Outcome(folder, overrides, "", 0)
    return Outcome(folder, overrides, record.get("error", DIED), 1)


def job_number(folder: Path) -> int:
    """The number that the name of a job's folder begins with; -1 where ``hydra.sweep.subdir`` names them otherwise."""
    number = folder.name.split("_")[0]
    return int(number) if number.isdigit() else -1


def summary(ended: Sequence[Outcome]) -> Iterator[str]:
    """Lines that name each job that did not finish: its overrides, its folder, its error."""
    bad = [o for o in ended if o.exit_code]
    yield f"{len(ended) - len(bad)} of {len(ended)} jobs finished" + (f", {len(bad)} did not:" if bad else "")
    for o in bad:
        yield f"  {o.folder.name}: {o.overrides}"
        yield f"    folder: {o.folder}"
        yield from (f"    {'error: ' if k == 0 else '  '}{line}" for k, line in enumerate(o.error.splitlines()))


def exit_code(ended: Sequence[Outcome]) -> int:
    """0 if all finished, 2 if only the user's mistakes kept some from it, else 1."""
    codes = {o.exit_code for o in ended} - {0}
    return 0 if not codes else 2 if codes == {2} else 1
