"""Sweeps with each launcher, and how launchers outlive their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException

from invsmooth.config import cli
from invsmooth.core.errors import ConfigError
from invsmooth.sweeps.launchers import and_the_rest, nothing, or_else, prepare_launcher
from tests.config.test_config import config
from tests.sweeps.sweeping import check_sweep, run


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "plugin"), [("joblib", "joblib"), ("slurm_local", "submitit")])
def test_jobs_in_processes(launcher: str, plugin: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if find_spec(plugin) is None:
        pytest.skip(f"the {plugin} launcher is not installed here: pip install -e '.[dev]'")
    check_sweep(tmp_path, launcher, request.getfixturevalue("alone"))


def test_jobs_here_and_a_mistake_in_one(tmp_path: Path) -> None:
    """The sweep goes on, batch after batch, and ends with the exit code of a mistake."""
    sweep = [
        "--multirun",
        "data.crop=4000,24",
        "report=false",
        "hydra.sweeper.max_batch_size=1",
        "+estimator.fate=lives",
    ]
    done = run(tmp_path, *sweep, code=2)
    assert "1 of 2 jobs finished, 1 did not:\n  0_denoise_ord_crop-4000: " in done.stdout
    assert "error: DataError: 1 of 1 images are smaller than the 4000×4000" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (folder,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert (folder / "results.parquet").is_file()
    assert sorted(p.name for p in folder.glob("[0-9]*")) == ["0_denoise_ord_crop-4000", "1_denoise_ord_crop-24"]


@pytest.mark.parametrize(("launcher", "plugin"), [("joblib", "joblib"), ("slurm", "submitit"), ("ray", "ray")])
def test_a_launcher_that_is_not_installed(launcher: str, plugin: str) -> None:
    if find_spec(plugin) is not None:
        pytest.skip("it is installed here")
    with pytest.raises(HydraException) as error:
        config(f"launcher={launcher}")
    assert cli.message(error.value).endswith(f"is not installed: pip install -e '.[{plugin}]'")


def test_slurm_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="no command srun"):
        prepare_launcher("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher")


class WorkerDied(Exception):
    pass


class Pool:
    """Runs two jobs at a time; a job "dies" takes the one beside it and those that wait with it, like joblib's workers."""

    def __init__(self, sweep: Path) -> None:
        self.config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=sweep)))
        self.sweep, self.begun = sweep, []  # type: ignore[var-annotated]

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        for start in range(0, len(jobs), 2):
            pair = {first + start + k: fate for k, (fate,) in enumerate(jobs[start : start + 2])}
            for number, fate in pair.items():
                self.begun.append((number, fate))
                folder = self.sweep / f"{number}_job"
                (folder / ".hydra").mkdir(parents=True, exist_ok=True)
                (folder / ".hydra" / "overrides.yaml").write_text(f"- {fate}")
            if "dies" in pair.values():
                raise WorkerDied
            for number in pair:
                (self.sweep / f"{number}_job" / "run.json").write_text('{"status": "finished"}')
        return [JobReturn(status=JobStatus.COMPLETED)] * len(jobs)


def test_a_worker_that_dies_takes_no_other_job_with_it(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    fates = ["lives", "lives", "dies", "lives", "lives", "dies", "lives"]
    returned = and_the_rest(Pool.launch, WorkerDied)(pool, [[fate] for fate in fates], 0)
    assert len(returned) == len(fates)
    alive = {int(p.parent.name.split("_")[0]) for p in tmp_path.glob("*/run.json")}
    assert alive == {k for k, fate in enumerate(fates) if fate == "lives"}
    # Each of the two pairs with a culprit ran twice: the second time one by one.
    assert [n for n, _ in pool.begun] == [0, 1, 2, 3, 4, 5, 6, 4, 5, 2, 3]


def test_a_pool_that_cannot_begin_is_no_endless_loop(tmp_path: Path) -> None:
    def launch(launcher: Any, jobs: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        raise WorkerDied

    with pytest.raises(WorkerDied):
        and_the_rest(launch, WorkerDied)(Pool(tmp_path), [["lives"]], 0)


def test_a_lost_job_gives_nothing_instead_of_an_error() -> None:
    def wait(job: str) -> str:
        if job == "lost":
            raise WorkerDied("its node is gone")
        if job == "bug":
            raise ValueError
        return job

    waited = or_else(wait, (WorkerDied,), nothing())
    assert waited("kept") == "kept"
    assert waited("lost").return_value is None
    with pytest.raises(ValueError):  # noqa: PT011
        waited("bug")
