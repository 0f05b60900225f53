"""What Hydra's launchers need to run sweeps of ours: a job that dies (killed, out of memory, its node gone) must not end
the others, as it does with joblib, submitit and Ray as they are.

A job that died returns nothing; that it did is seen from its folder (:mod:`invsmooth.sweeps.outcomes`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from invsmooth.core.errors import ConfigError
from invsmooth.sweeps.outcomes import job_number, outcomes

log = logging.getLogger(__name__)

lost: list[str] = []
"""What was said of jobs that returned nothing. One that never began (cancelled while it waited) left no folder either."""

Launch = Callable[[Any, Sequence[Sequence[str]], int], Sequence[JobReturn]]


def prepare_launcher(target: str) -> None:
    """Change the launcher with class ``target``, in this process, so that it outlives its jobs.

    Raises: ConfigError: it cannot work here.
    """
    if target.endswith(".SlurmLauncher") and shutil.which("srun") is None:
        raise ConfigError("launcher=slurm: there is no SLURM here (no command srun); launcher=slurm_local does without")
    match target.split(".")[:2]:
        case ["hydra_plugins", "hydra_joblib_launcher"]:
            from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
            from joblib.externals.loky.process_executor import TerminatedWorkerError

            replace(JoblibLauncher, "launch", lambda launch: and_the_rest(launch, TerminatedWorkerError))
        case ["hydra_plugins", "hydra_submitit_launcher"]:
            from submitit import Job
            from submitit.core.utils import FailedJobError, UncompletedJobError

            # It waits for one job after the other.
            replace(Job, "results", lambda wait: or_else(wait, (FailedJobError, UncompletedJobError), [nothing()]))
        case ["hydra_plugins", "hydra_ray_launcher"]:
            import ray

            replace(ray, "get", lambda wait: or_else(wait, (ray.exceptions.RayError,), nothing()))


def nothing() -> JobReturn:
    return JobReturn(status=JobStatus.COMPLETED)


def replace(owner: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Put ``change(owner.name)`` in the place of ``owner.name``, once."""
    original = getattr(owner, name)
    if not getattr(original, "is_changed", False):
        changed = change(original)
        changed.is_changed = True
        setattr(owner, name, changed)


def or_else(wait: Callable[..., Any], errors: tuple[type[Exception], ...], instead: Any) -> Callable[..., Any]:
    """``wait``, but for the errors, which are logged."""

    @wraps(wait)
    def waited(*args: Any, **kwargs: Any) -> Any:
        try:
            return wait(*args, **kwargs)
        except errors as error:
            log.error("a job died: %s", str(error).strip())
            lost.append(str(error).strip())
            return instead

    return waited


def and_the_rest(launch: Launch, worker_died: type[Exception]) -> Launch:
    """``launch``, but where a worker that dies takes the others with it: those jobs that had not begun are launched after
    that; those that were under way once more, one by one, so that only the culprits die."""

    @wraps(launch)
    def launched(launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        try:
            return launch(launcher, job_overrides, initial_job_idx)
        except worker_died as error:
            log.error("a worker died; going on with the other jobs. %s", str(error).strip())
        begun = {job_number(o.folder): o for o in outcomes(Path(launcher.config.hydra.sweep.dir))}
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        mine = [n for n in numbers if n in begun]
        if not mine:  # what dies is not the jobs
            raise worker_died("the workers die before they begin a job")
        waiting = job_overrides[mine[-1] + 1 - initial_job_idx :]
        if waiting:
            launched(launcher, waiting, mine[-1] + 1)
        for number in range(initial_job_idx, mine[-1] + 1):
            if number not in begun or begun[number].died:
                with suppress(worker_died):
                    launch(launcher, [job_overrides[number - initial_job_idx]], number)
        return [nothing()] * len(job_overrides)

    return launched
