"""A Hydra multirun: checks before its first job, results after its last one."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invsmooth.config import cli, scale
from invsmooth.config.hydra_files import redact_folder, redact_hydra_files, redact_yaml
from invsmooth.config.job_folder import check_values
from invsmooth.config.refused import BEGINNING
from invsmooth.core.devices import NO_DISTRIBUTED_JOBS, starts_processes
from invsmooth.core.errors import ConfigError, FolderTaken
from invsmooth.core.redact import redact
from invsmooth.evaluation.job_plan import FILE as PLAN
from invsmooth.evaluation.job_plan import print_plans, read_plan
from invsmooth.sweeps import jobs, launchers
from invsmooth.sweeps.jobs import OUTPUT_SUBDIR, raise_refused
from invsmooth.sweeps.outcomes import (
    Outcome,
    clear_failure,
    exit_code,
    failure,
    indented,
    of_earlier_commands,
    outcomes,
    summary,
    write_failure,
)  # fmt: skip

__all__ = ["ReportAtSweepEnd", "conclude_broken", "raise_refused"]

log = logging.getLogger(__name__)


class ReportAtSweepEnd(Callback):
    """Lets a sweep go on when a job fails. At the end writes ``results.parquet`` and ``report/`` of
    the jobs that finished to the sweep's folder, and names the others (exit code not 0).
    Hydra turns an Exception of a callback into a warning; only SystemExit stops the program."""

    running: ClassVar[DictConfig | None] = None  # of the multirun that this process has begun and not concluded

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            check_mode(config, sweeps=False)
            BEGINNING.note(config.hydra)
        except ConfigError as error:
            sys.exit(cli.fail(error))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        launchers.register()  # Hydra looks for the launcher next
        # Where these values are swept, the jobs refuse them (invsmooth.config.validate).
        if starts_processes(config.trainer.strategy, config.trainer.devices):
            sys.exit(cli.fail(ConfigError(NO_DISTRIBUTED_JOBS)))
        try:
            scale.begin_sweep(config)
            check_mode(config, sweeps=True)
            if OmegaConf.select(config, "hydra.sweeper"):
                check_values(config.hydra)
            BEGINNING.note_sweep(Path(config.hydra.sweep.dir))
            jobs.begin_sweep(config)
        except ConfigError as error:
            sys.exit(cli.fail(error))
        ReportAtSweepEnd.running = config

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        if OmegaConf.select(config, "hydra.job.chdir"):  # else each job would have a cache of its own, and no data
            os.chdir(config.hydra.runtime.cwd)
            log.info("hydra.job.chdir=true: relative paths are those of %s all the same", config.hydra.runtime.cwd)
        if config.hydra.mode != RunMode.MULTIRUN:
            redact_hydra_files(config)
            return
        launchers.end_with_parent()
        sweep = jobs.sweep_folder(config)
        redact_hydra_files(config, sweep)
        jobs.begin_job(config)
        if jobs.Own.refused is None:
            clear_failure(Path(config.hydra.runtime.output_dir), sweep / f"{config.hydra.job.num}_lost")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """In the job's process: note its error, and hide it from Hydra, which would end all."""
        job_return.overrides = redact(list(job_return.overrides or ()))  # Hydra prints them if a job failed
        if job_return.status is not JobStatus.FAILED or config.hydra.mode != RunMode.MULTIRUN:
            return
        known = cli.mistake(job_return._return_value)
        error = known or job_return._return_value
        if isinstance(known, (HydraException, OmegaConfBaseException)):
            error = ConfigError(cli.message(known))
        log.error("job failed: %s", cli.message(error), exc_info=None if known else error)
        try:
            if isinstance(error, FolderTaken):
                jobs.note_refusal(config, failure(error, 2))
            else:
                write_failure(Path(config.hydra.runtime.output_dir), error, 2 if known else 1)
        except OSError:  # a full disk: the error is in the log, and run.json does not say that the job finished
            log.exception("the failure could not be noted")
        job_return.status, job_return.return_value = JobStatus.COMPLETED, None

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        ReportAtSweepEnd.running = None
        if code := conclude(config):
            raise SystemExit(code)


def check_mode(config: DictConfig, *, sweeps: bool) -> None:
    """Raises: ConfigError: a folder or launcher that is given for the other mode, or the folder of a run for a sweep."""
    given, of_task = (
        [str(o) for o in OmegaConf.select(config, f"hydra.overrides.{k}") or ()] for k in ("hydra", "task")
    )
    if wrong := [
        o for o in given if o in ("hydra.run.dir=", "hydra.sweep.dir=")
    ]:  # of a shell variable that is not set
        raise ConfigError(f"{wrong[0]} is empty; give a folder, or leave it away")
    if sweeps and (wrong := [o for o in given if o.startswith("hydra.run.dir=")]):
        raise ConfigError(
            f"{wrong[0]} has no effect beside --multirun; write hydra.sweep.dir=FOLDER, the folder of the whole sweep"
        )
    if not sweeps and (wrong := [o for o in given if o.startswith(("hydra.sweep.dir=", "hydra.sweep.subdir="))]):
        raise ConfigError(f"{wrong[0]} has no effect without --multirun; the folder of one run is hydra.run.dir=FOLDER")
    chosen = [o for o in (*of_task, *given) if o.startswith(("launcher=", "hydra/launcher="))]
    if not sweeps and (wrong := [o for o in chosen if not o.endswith("=basic")]):
        raise ConfigError(f"{wrong[0]} has no effect without --multirun; add it, also for a single job")
    if sweeps and ((folder := Path(config.hydra.sweep.dir)) / "run.json").is_file():
        raise ConfigError(f"hydra.sweep.dir={folder} is the folder of a run; give another folder")


def conclude_broken() -> int | None:
    """Conclude a multirun whose launcher or sweeper failed; None if none of its jobs started."""
    config, ReportAtSweepEnd.running = ReportAtSweepEnd.running, None
    if config is None or BEGINNING.undo_sweep(folder := Path(config.hydra.sweep.dir)) or not outcomes(folder):
        return None
    return conclude(config) or 1


def conclude(config: DictConfig) -> int:
    """Write the sweep's results and report, print the summary, return the exit code."""
    folder = Path(config.hydra.sweep.dir)
    ended = outcomes(folder)
    for outcome in ended:
        if outcome.died:  # maybe before on_job_start
            redact_folder(outcome.folder / (config.hydra.get("output_subdir") or OUTPUT_SUBDIR))
    redact_yaml(folder / "multirun.yaml")
    if not ended:
        log.error("0 of 0 jobs finished: no job of the sweep has begun in %s", folder)
        return 1
    if config.get("sweep") == "plan":  # an audit has no such key
        return conclude_plan(folder, ended)
    code = exit_code(ended)
    finished = [o.folder for o in ended if o.exit_code == 0]
    try:
        # Not at the top: Hydra imports this module even for --help.
        from invsmooth.records.rows import read_rows, write_table
        from invsmooth.reporting import report

        if runs := [f for f in finished if (f / "results.parquet").is_file()]:
            write_table(folder / "results.parquet", *read_rows(runs))
            if config.report:
                report(runs, folder / "report")
    except Exception as error:
        known = cli.mistake(error)
        message = "the report failed; the rows are in the folders of the jobs, for python -m invsmooth.report: %s"
        log.error(message, cli.message(known or error), exc_info=None if known else error)
        code = code or (2 if known else 1)
    print("\n" + "\n".join(summary(ended)))
    if earlier := of_earlier_commands(ended):
        print(
            f"{len(earlier)} jobs of earlier commands are in the folder, too ({earlier[0].name}, …), but not in its "
            f"results.parquet and report; all together: python -m invsmooth.report runs={shlex.quote(str(folder))}"
        )
    print(f"\nrun folder: {folder.resolve()} ({len(ended)} jobs)")
    return code


def conclude_plan(folder: Path, ended: Sequence[Outcome]) -> int:
    if planned := [o for o in ended if (o.folder / PLAN).is_file()]:
        print_plans(read_plan(o.folder) for o in planned)  # one at a time in memory
    if failed := [o for o in ended if o not in planned]:
        print(f"\n{len(planned)} of {len(ended)} jobs can be planned, {len(failed)} cannot:")
        print("\n".join(f"  {o.folder.name}: {o.overrides}\n    error: {indented(o.error)}" for o in failed))
    shutil.rmtree(folder, ignore_errors=True)
    BEGINNING.remove_made()
    return exit_code(failed)
