"""A Hydra multirun as a whole: what has to hold before its first job, and what comes after its last one."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from invsmooth.config import cli
from invsmooth.config.hydra_files import redact_folder, redact_hydra_files, redact_yaml
from invsmooth.core.devices import NO_DISTRIBUTED_JOBS, starts_processes
from invsmooth.core.errors import ConfigError
from invsmooth.core.redact import redact
from invsmooth.evaluation.job_plan import FILE as PLAN
from invsmooth.evaluation.job_plan import print_plans, read_plan
from invsmooth.sweeps.launchers import lost, prepare_launcher
from invsmooth.sweeps.outcomes import OUTPUT_SUBDIR, Outcome, clear_failure, exit_code, outcomes, summary, write_failure

log = logging.getLogger(__name__)

_running: list[DictConfig] = []
"""The config of the multirun that this process has started and not concluded."""


class ReportAtSweepEnd(Callback):
    """Keeps a sweep going when a job fails. At the end writes ``results.parquet`` and ``report/`` to the sweep's folder,
    from the jobs that finished, and names those that did not; the exit code is then not 0.

    Hydra turns an Exception of a callback into a warning: what has to stop the program is a SystemExit.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            # Where these are swept, the jobs refuse them (invsmooth.config.validate).
            if starts_processes(config.trainer.strategy, config.trainer.devices):
                raise ConfigError(NO_DISTRIBUTED_JOBS)
            if config.hydra.output_subdir != OUTPUT_SUBDIR:  # how the jobs ended is read from there
                found = f"hydra.output_subdir={config.hydra.output_subdir}"
                raise ConfigError(f"{found} is not allowed in a multirun; allowed: {OUTPUT_SUBDIR}")
            prepare_launcher(str(config.hydra.launcher._target_))
        except ConfigError as error:
            sys.exit(cli.fail(error))
        lost.clear()
        _running.append(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        redact_hydra_files(config)
        if config.hydra.mode == RunMode.MULTIRUN:
            clear_failure(Path(config.hydra.runtime.output_dir))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Runs in the job's process. Hydra would end the sweep at the batch with a job that failed."""
        job_return.overrides = redact(list(job_return.overrides or ()))  # Hydra prints them where a job failed
        if job_return.status is not JobStatus.FAILED or config.hydra.mode != RunMode.MULTIRUN:
            return
        known = cli.mistake(job_return._return_value)
        error = known or job_return._return_value
        log.error("job failed: %s", cli.message(error), exc_info=None if known else error)
        try:
            write_failure(Path(config.hydra.runtime.output_dir), error, 2 if known else 1)
        except OSError:  # a full disk: the error is in the log, and run.json does not say that the job finished
            log.exception("the failure could not be noted")
        job_return.status, job_return.return_value = JobStatus.COMPLETED, None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        _running.clear()
        if code := conclude(config):
            raise SystemExit(code)


def conclude_broken() -> int | None:
    """Conclude the sweep of this process after its launcher or sweeper raised an error; None if none of its jobs started."""
    if not _running:
        return None
    config = _running.pop()
    if not outcomes(Path(config.hydra.sweep.dir)):
        return None
    return conclude(config) or 1


def conclude(config: DictConfig) -> int:
    """Gather, report, sum up; returns the exit code."""
    folder = Path(config.hydra.sweep.dir)
    ended = outcomes(folder)
    for outcome in ended:
        if outcome.died:  # maybe before it did this itself
            redact_folder(outcome.folder / ".hydra")
    redact_yaml(folder / "multirun.yaml")
    code = exit_code(ended)
    if not ended and not lost:
        log.error("no job left a folder in %s: hydra.sweep.subdir has to be one folder name for each job", folder)
        return 1
    if config.sweep == "plan":
        return conclude_plan(folder, ended)
    try:
        gather(
            folder, [o.folder for o in ended if o.exit_code == 0 and (o.folder / "results.parquet").is_file()], config
        )
    except Exception as error:
        known = cli.mistake(error)
        log.error(
            "the report failed; the rows are in the folders of the jobs, and python -m invsmooth.report reads them: %s",
            cli.message(known or error),
            exc_info=None if known else error,
        )
        code = code or (2 if known else 1)
    print("\n" + "\n".join(summary(ended)))
    if lost and code == 0:
        print("\n".join(["jobs were lost before they began:", *redact(lost)]))
        code = 1
    print(f"\nrun folder: {folder.resolve()} ({len(ended)} jobs)")
    return code


def conclude_plan(folder: Path, ended: Sequence[Outcome]) -> int:
    """Show what the jobs would do. A plan leaves no folder."""
    planned = [o for o in ended if (o.folder / PLAN).is_file()]
    if planned:
        print_plans([read_plan(o.folder) for o in planned])
    failed = [o for o in ended if o not in planned]
    if failed:
        print("\n" + "\n".join(summary(failed)))
    shutil.rmtree(folder, ignore_errors=True)
    return exit_code(failed)


def gather(folder: Path, runs: Sequence[Path], config: DictConfig) -> None:
    """Write the rows of ``runs`` and a report on them to ``folder``."""
    # Imported here because Hydra makes the callback before it composes a config, for --help as well.
    from invsmooth.records.rows import read_rows, write_table
    from invsmooth.reporting import report

    if runs:
        write_table(folder / "results.parquet", read_rows(runs))
        if config.report:
            report(list(runs), folder / "report")
