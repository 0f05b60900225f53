"""The cost estimate of a job (``sweep=plan``), in a file and as a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invsmooth.core.files import write_text

FILE = "plan.json"


@dataclass(frozen=True)
class Cost:
    """The cost of a result that is computed once and cached. Jobs with the same key share it."""

    kind: str  # training, attack, draws or rest (reconstructions, checks and pixel intervals)
    key: str
    evals: int  # forward passes
    gradients: int = 0  # those among them a gradient is taken through
    cached: bool = False
    seconds: float = 0.0  # estimated; 0 if nothing is known of it
    file_bytes: int = 0  # of the temporary file that it takes


@dataclass(frozen=True)
class JobPlan:
    """The cost estimate of one job."""

    name: str  # of the job's folder
    cells: int  # the numbers of cells: see CAPTION
    done: int
    impossible: int
    training: str  # "" (nothing to train), "done", "to do", or that it goes on
    costs: Sequence[Cost]  # of all results that are not part of a finished image
    start: float = 0.0  # seconds from the start of the job to its first pass


def write_plan(folder: Path, job: JobPlan) -> None:
    write_text(folder / FILE, json.dumps(dataclasses.asdict(job)))


def read_plan(folder: Path) -> JobPlan:
    content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return JobPlan(**content | {"costs": [Cost(**s) for s in content["costs"]]})


def print_plans(jobs: Iterable[JobPlan]) -> None:
    """A line for each job, and the sum. What several jobs need is counted where it comes first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What this would do (nothing was computed)", caption=CAPTION)
    for name in ("job", "cells", "done", "impossible", "training", "to compute", "cached", "shared", "about"):
        table.add_column(name, justify="left" if name in ("job", "training") else "right")
    seen: set[str] = set()
    total, seconds, n_jobs, room = [0, 0, 0, 0, 0, 0], 0.0, 0, 0
    for n_jobs, job in enumerate(jobs, 1):  # noqa: B007
        new = [c for c in job.costs if c.key not in seen]
        evals = [sum(c.evals for c in new if not c.cached), sum(c.evals for c in new if c.cached),
                 sum(c.evals for c in job.costs if c.key in seen)]  # fmt: skip
        own = job.start + sum(c.seconds for c in new if not c.cached)
        seen |= {c.key for c in job.costs}
        counts = [job.cells, job.done, job.impossible]
        table.add_row(job.name, *map(str, counts), job.training or "–", *(f"{e:,}" for e in evals), duration(own))
        total = [a + b for a, b in zip(total, counts + evals, strict=True)]
        seconds += own
        room = max([room, *(c.file_bytes for c in job.costs if not c.cached)])
    table.add_section()
    table.add_row(f"{n_jobs} jobs", *map(str, total[:3]), "", *(f"{e:,}" for e in total[3:]), duration(seconds))
    if room:
        from invsmooth.certificates.draw_buffer import folder  # here: a report does without torch

        table.caption = f"{CAPTION}. Draws take a temporary file of up to {room / 2**30:.1f} GiB in {folder()} (TMPDIR)"
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


CAPTION = (
    "cells: (image, eps, sigma, sigma_b, ratio, certifier). impossible: no certificate can exist there. to compute, "
    "cached (computed before), shared (with a job above): network evaluations. about: one job after the other, by what "
    "was timed here: a pass, the noise of a draw, some cells, the start of the job"
)


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
