"""At the end of a Hydra multirun: gather the rows of its jobs and report on them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

log = logging.getLogger(__name__)


def job_number(path: Path) -> int:
    """Of a file in a job's folder, whose name begins with it."""
    return int(path.parent.name.split("_")[0])


class ReportAtSweepEnd(Callback):
    """Writes ``results.parquet`` and ``report/`` to the sweep's folder, from the jobs that finished."""

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status is JobStatus.FAILED and config.hydra.mode == RunMode.MULTIRUN:
            log.error("job %s failed; the sweep goes on: %s", job_return.overrides, job_return._return_value)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        # Imported here because Hydra makes this object before it composes a config, for --help as well.
        from invsmooth.reporting import report
        from invsmooth.rows import read_rows, write_table

        folder = Path(config.hydra.sweep.dir)
        if config.sweep == "plan":
            from invsmooth.job_plan import print_plans, read_plan

            print_plans([read_plan(p.parent) for p in sorted(folder.glob("*/plan.json"), key=job_number)])
            shutil.rmtree(folder, ignore_errors=True)  # a plan leaves nothing
            return
        runs = sorted(p.parent for p in folder.glob("*/results.parquet"))
        if not runs:
            return
        write_table(folder / "results.parquet", read_rows(runs))
        if config.report:
            report(runs, folder / "report")
        print(f"\nrun folder: {folder.resolve()} ({len(runs)} jobs)")
