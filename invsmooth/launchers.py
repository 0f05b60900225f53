"""What Hydra's launchers need to run sweeps of ours: the plugin, and that one lost job does not lose the others."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from invsmooth.errors import ConfigError

log = logging.getLogger(__name__)

EXTRAS = {
    "hydra_plugins.hydra_joblib_launcher": "joblib",
    "hydra_plugins.hydra_submitit_launcher": "submitit",
    "hydra_plugins.hydra_ray_launcher": "ray",
}
"""Package of each launcher -> the extra of invsmooth that installs it."""


def prepare_launcher(target: str) -> None:
    """Get the launcher with class ``target`` ready. Raises: ConfigError: it is not installed."""
    package = ".".join(target.split(".")[:2])
    extra = EXTRAS.get(package)
    if extra is not None and not is_installed(package):
        raise ConfigError(f"hydra/launcher: the {extra} launcher is not installed: pip install -e '.[{extra}]'")
    if extra == "submitit":
        outlive_lost_jobs()


def is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # no plugin at all, so that hydra_plugins does not exist either
        return False


def outlive_lost_jobs() -> None:
    """Let a submitit job that left no result return nothing instead of raising an error: the launcher waits for one job
    after the other, and would give up those that still run. What was lost is seen from the job's folder."""
    from submitit import Job
    from submitit.core.utils import FailedJobError, UncompletedJobError

    wait = Job.results
    if getattr(wait, "outlives", False):
        return

    def results(self: Any) -> list[Any]:
        try:
            return wait(self)
        except (UncompletedJobError, FailedJobError) as error:
            log.error("submitit job %s is lost: %s", self.job_id, str(error).strip())
            return [JobReturn(status=JobStatus.COMPLETED)]

    results.outlives = True  # type: ignore[attr-defined]
    Job.results = results
