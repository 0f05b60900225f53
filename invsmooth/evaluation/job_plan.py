"""What a job would do (``sweep=plan``): steps and their costs, in a file and as a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invsmooth.records.run_record import write_text

FILE = "plan.json"


@dataclass(frozen=True)
class Step:
    """Something that is computed once and kept.

    Attributes:
        kind: ``"training"``, ``"attack"``, ``"draws"`` or ``"rest"`` (reconstructions, checks and bands).
        key: what two jobs have in common they do once.
        evals: forward passes of the network.
        gradients: how many of them have a gradient taken through.
        kept: computed before.
        seconds: estimated; 0 where nothing is known of it.
        file_bytes: of the temporary file that it takes.
    """

    kind: str
    key: str
    evals: int
    gradients: int = 0
    kept: bool = False
    seconds: float = 0.0
    file_bytes: int = 0


@dataclass(frozen=True)
class JobPlan:
    """What one job would do.

    Attributes:
        name: what tells the job from others.
        cells: (image, eps, sigma, sigma_b, ratio, certifier) in all; ``done``: of these, computed before; ``impossible``:
            those where no certificate can exist.
        training: ``""`` (nothing to train), ``"done"``, ``"to do"``, or that it goes on.
        steps: what is to be computed, or was and is used again.
    """

    name: str
    cells: int
    done: int
    impossible: int
    training: str
    steps: Sequence[Step]


def write_plan(folder: Path, job: JobPlan) -> None:
    write_text(folder / FILE, json.dumps(dataclasses.asdict(job)))


def read_plan(folder: Path) -> JobPlan:
    content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return JobPlan(**content | {"steps": [Step(**s) for s in content["steps"]]})


def print_plans(jobs: Sequence[JobPlan]) -> None:
    """A line for each job, and the sum. What several jobs need is counted where it comes first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="What this would do (nothing was computed)")
    for name in ("job", "cells", "done", "impossible", "training", "to compute", "kept", "shared", "about"):
        table.add_column(name, justify="left" if name in ("job", "training") else "right")
    seen: set[str] = set()
    total = [0, 0, 0, 0, 0, 0]
    seconds = 0.0
    for job in jobs:
        new = [s for s in job.steps if s.key not in seen]
        evals = [sum(s.evals for s in new if not s.kept), sum(s.evals for s in new if s.kept),
                 sum(s.evals for s in job.steps if s.key in seen)]  # fmt: skip
        own = sum(s.seconds for s in new if not s.kept)
        seen |= {s.key for s in job.steps}
        counts = [job.cells, job.done, job.impossible]
        table.add_row(job.name, *map(str, counts), job.training or "–", *(f"{e:,}" for e in evals), duration(own))
        total = [a + b for a, b in zip(total, counts + evals, strict=True)]
        seconds += own
    table.add_section()
    table.add_row(f"{len(jobs)} jobs", *map(str, total[:3]), "", *(f"{e:,}" for e in total[3:]), duration(seconds))
    table.caption = (
        "cells: (image, eps, sigma, sigma_b, ratio, certifier). impossible: no certificate can exist there. to compute, "
        "kept (computed before), shared (with a job above): network evaluations. about: one job after the other, by a "
        "pass that was timed"
    )
    if room := max((s.file_bytes for job in jobs for s in job.steps if not s.kept), default=0):
        from invsmooth.certificates.draw_buffer import folder  # here: a report does without torch

        table.caption += f". Draws take a temporary file of up to {room / 2**30:.1f} GiB in {folder()} (TMPDIR)"
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
