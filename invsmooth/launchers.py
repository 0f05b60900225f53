"""What Hydra's launchers need to run sweeps of ours: the plugin, and that one lost job does not lose the others."""

from __future__ import annotations

import logging
import re
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

log = logging.getLogger(__name__)

EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit", "ray": "ray"}
"""Launcher of a plugin, as Hydra calls it -> the extra of invsmooth that installs it."""


def how_to_install(error: str) -> str:
    """What an error of Hydra's about a launcher that is not there lacks; "" for any other."""
    missing = re.search(r"hydra/launcher/(\w+)", error)
    extra = EXTRAS.get(missing[1]) if missing else None
    return f"this launcher is not installed: pip install -e '.[{extra}]'" if extra else ""


def prepare_launcher(target: str) -> None:
    """Get the launcher with class ``target`` ready."""
    if target.startswith("hydra_plugins.hydra_submitit_launcher."):
        outlive_lost_jobs()


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
