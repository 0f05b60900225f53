"""Launchers of sweeps that outlive their jobs: a job that is killed or whose node fails does not
end the others. Each wraps the launcher of a Hydra plugin, which would raise an error then and drop
the results of all jobs. Hydra takes only classes of the package ``hydra_plugins``: ours say that
they are of it (:func:`register`)."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from invsmooth.config import cli
from invsmooth.config.hydra_errors import ours
from invsmooth.core.errors import ConfigError
from invsmooth.core.signals import SIGNALS, Interrupted
from invsmooth.records.run_record import note_interruption
from invsmooth.sweeps.outcomes import outcomes, write_lost

log = logging.getLogger(__name__)

WATCH = "parent"  # name of a thread
UNTIL_CANCELLED = 3.0  # seconds
UNTIL_ENDED = 5.0


class Wrapper(Launcher):
    """Holds a plugin's launcher. A job that died has an empty result: see its folder."""

    plugin: ClassVar[str]  # dotted name of the wrapped class; imported late, for it may not be installed

    def __init__(self, **options: Any) -> None:
        self.wrapped = resolve_name(self.plugin)(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.wrapped.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweep = Path(config.hydra.sweep.dir)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raises: ConfigError: the plugin failed, mostly because of an option. (Errors of jobs stay in their folders.)"""
        try:
            return self.run_jobs(job_overrides, initial_job_idx)
        except Exception as error:
            if ours(error) or cli.mistake(error) is not None:
                raise
            plugin = self.plugin.split(".")[1]
            raise ConfigError(
                f"{plugin} failed: {type(error).__name__}: {error}; its options are hydra.launcher.KEY=VALUE"
            ) from error

    @abstractmethod
    def run_jobs(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Of :meth:`launch`."""

    def results(
        self, waits: Iterable[Callable[[], JobReturn]], died: tuple[type[Exception], ...],
        job_overrides: Sequence[Sequence[str]], initial_job_idx: int,
    ) -> list[JobReturn]:  # fmt: skip
        """Call ``waits``, one for each job. One of the errors ``died`` gives an empty result."""
        found = []
        for number, (wait, overrides) in enumerate(zip(waits, job_overrides, strict=True), initial_job_idx):
            try:
                found.append(wait())
            except died as error:
                log.error("job %d died: %s", number, str(error).strip())
                write_lost(self.sweep, number, overrides, error)
                found.append(no_result())
        return found


@contextmanager
def jobs_end_too(sweep: Path, cancel: Callable[[], None] = lambda: None) -> Iterator[None]:
    """If this process is interrupted in the block, ``cancel`` ends its jobs in others; those that could not say so
    themselves are noted as interrupted."""
    try:
        yield
    except Interrupted as stop:
        with suppress(Exception):  # the interruption is what counts
            cancel()
        for folder in (o.folder for o in outcomes(sweep)):
            with suppress(OSError, ValueError):
                if json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "running":
                    note_interruption(folder, str(stop))
        raise


def end_with_parent() -> None:
    """A worker ends when the command that started it is gone (killed: it could not say so)."""
    if multiprocessing.parent_process() is None or any(t.name == WATCH for t in threading.enumerate()):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(UNTIL_ENDED)
        os._exit(128 + signal.SIGTERM)  # loky's worker would wait for more work

    threading.Thread(target=watch, daemon=True, name=WATCH).start()


def no_result() -> JobReturn:
    return JobReturn(status=JobStatus.COMPLETED)


class Joblib(Wrapper):
    """Joblib stops all workers when one dies. Jobs that had not started are launched again, and
    those that were interrupted repeated one by one, so that only the culprits die again."""

    __module__ = "hydra_plugins.invsmooth"
    plugin = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"

    def run_jobs(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from joblib.externals.loky.process_executor import TerminatedWorkerError

        try:
            with jobs_end_too(self.sweep):
                results: Sequence[JobReturn] = self.wrapped.launch(job_overrides, initial_job_idx)
            return results
        except TerminatedWorkerError as died:
            error = died
            log.error("a worker died; the other jobs go on. %s", str(error).strip())
        jobs = dict(enumerate(job_overrides, initial_job_idx))
        started = {o.number: o for o in outcomes(self.sweep)}
        if not started.keys() & jobs.keys():
            raise ConfigError(f"launcher=joblib: the workers die before they start a job: {error}") from error
        last = max(started.keys() & jobs.keys())
        if waiting := [jobs[n] for n in jobs if n > last]:
            self.run_jobs(waiting, last + 1)
        for number in range(initial_job_idx, last + 1):
            if number not in started or started[number].died:
                with suppress(TerminatedWorkerError):
                    self.wrapped.launch([jobs[number]], number)
        return [no_result()] * len(jobs)


class Submitit(Wrapper):
    """One SLURM job array, or processes of this machine."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Raises: ConfigError: there is no SLURM here."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if self.wrapped._EXECUTOR == "slurm" and shutil.which("srun") is None:
            missing = "there is no SLURM here (no command srun)"
            raise ConfigError(f"launcher=slurm: {missing}; launcher=slurm_local does without")

    def run_jobs(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
        from submitit.core.utils import FailedJobError, UncompletedJobError

        self.sweep.mkdir(parents=True, exist_ok=True)
        cluster, common = self.wrapped._EXECUTOR, BaseQueueConf.__dataclass_fields__
        options = {k if k in common else f"{cluster}_{k}": v for k, v in self.wrapped.params.items()}
        at_start = {k: options.pop(k) for k in [f"{cluster}_max_num_timeout"] if k in options}
        executor = submitit.AutoExecutor(options.pop("submitit_folder"), cluster=cluster, **at_start)
        executor.update_parameters(**options)
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        log.info("submitit (%s) starts %d jobs; sweep folder: %s", cluster, len(numbers), self.sweep)
        pairs = zip(numbers, job_overrides, strict=True)
        arguments = [(list(o), "hydra.sweep.dir", number, str(number), Singleton.get_state()) for number, o in pairs]
        jobs = executor.map_array(self.wrapped, *zip(*arguments, strict=True))
        waits = [lambda job=job: job.results()[0] for job in jobs]
        with jobs_end_too(self.sweep, partial(self.cancel, jobs)):
            return self.results(waits, (FailedJobError, UncompletedJobError), job_overrides, initial_job_idx)

    def cancel(self, jobs: Sequence[Any]) -> None:
        """End the jobs. Those of SLURM only for Ctrl-C: they outlive a login node that closes the terminal."""
        if self.wrapped._EXECUTOR == "slurm" and SIGNALS.pending != signal.SIGINT:
            return
        for job in jobs:
            job.cancel(check=False)
        until = time.monotonic() + UNTIL_CANCELLED
        while self.wrapped._EXECUTOR == "local" and time.monotonic() < until and not all(job.done() for job in jobs):
            time.sleep(0.05)


class Ray(Wrapper):
    """Every job is a Ray task."""

    __module__ = "hydra_plugins.invsmooth"
    plugin = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"

    def run_jobs(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        import ray
        from hydra_plugins.hydra_ray_launcher._launcher_util import launch_job_on_ray, start_ray

        wrapped = self.wrapped
        setup_globals()
        configure_log(wrapped.config.hydra.hydra_logging, wrapped.config.hydra.verbose)
        self.sweep.mkdir(parents=True, exist_ok=True)
        if not wrapped.ray_cfg.init.get("address"):
            # Shared memory: the least that Ray takes, for our jobs return next to nothing.
            wrapped.ray_cfg.init.setdefault("object_store_memory", 75 * 2**20)
        start_ray(wrapped.ray_cfg.init)
        numbers, tasks = range(initial_job_idx, initial_job_idx + len(job_overrides)), []
        log.info("Ray starts %d jobs; sweep folder: %s", len(numbers), self.sweep)
        for number, overrides in zip(numbers, job_overrides, strict=True):
            config = wrapped.hydra_context.config_loader.load_sweep_config(wrapped.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id, config.hydra.job.num = f"job_{number}", number
            context, function = wrapped.hydra_context, wrapped.task_function
            tasks.append(launch_job_on_ray(context, wrapped.ray_cfg.remote, config, function, Singleton.get_state()))
        waits = [partial(ray.get, task) for task in tasks]
        return self.results(waits, (ray.exceptions.RayError,), job_overrides, initial_job_idx)


class SlurmLocal(Submitit):
    __module__ = "hydra_plugins.invsmooth"
    plugin = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"


class Slurm(Submitit):
    __module__ = "hydra_plugins.invsmooth"
    plugin = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"


def register() -> None:
    """Make our launchers known to Hydra, under the names that conf/launcher gives."""
    sys.modules["hydra_plugins.invsmooth"] = sys.modules[__name__]
    for launcher in (Joblib, SlurmLocal, Slurm, Ray):
        Plugins.instance().register(launcher)
