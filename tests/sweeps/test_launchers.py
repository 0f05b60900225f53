"""Sweeps with each launcher, and how launchers outlive their jobs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from invsmooth.config import cli, schema
from invsmooth.core.errors import ConfigError
from invsmooth.sweeps import launchers
from invsmooth.sweeps.launchers import Wrapper
from invsmooth.sweeps.outcomes import outcomes
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


def setting_up(sweep: Path) -> dict[str, Any]:
    """The arguments of a launcher's ``setup``."""
    hydra = {"sweep": {"dir": str(sweep)}, "hydra_logging": {}, "verbose": False}
    return {"hydra_context": None, "task_function": None, "config": OmegaConf.create({"hydra": hydra})}


def test_slurm_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="no command srun"):
        launchers.Slurm().setup(**setting_up(tmp_path))
    launchers.SlurmLocal().setup(**setting_up(tmp_path))


@pytest.mark.parametrize(
    ("launcher", "plugin"), [("joblib", "joblib"), ("slurm", "submitit"), ("slurm_local", "submitit")]
)
def test_hydra_finds_the_launchers_of_the_config(launcher: str, plugin: str) -> None:
    """And they take all options of the plugin's."""
    if find_spec(plugin) is None:
        pytest.skip(f"the {plugin} launcher is not installed here: pip install -e '.[dev]'")
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        composed = compose("train", ["hydra.job.name=t", f"launcher={launcher}"], return_hydra_config=True)
    options = composed.hydra.launcher
    launchers.register()
    made = Plugins.instance()._instantiate(options)
    assert isinstance(made, Wrapper)
    assert isinstance(made.wrapped, Launcher)
    kept = made.wrapped.joblib if launcher == "joblib" else made.wrapped.params
    assert kept.keys() == options.keys() - {"_target_"}


@pytest.mark.parametrize(
    ("launcher", "option", "said"),
    [
        ("joblib", "hydra.launcher.n_jobs=0", "hydra_joblib_launcher failed: ValueError: n_jobs == 0"),
        ("joblib", "hydra.launcher.pre_dispatch=nope", "hydra_joblib_launcher failed: "),
        ("slurm_local", "hydra.launcher.nodes=2", "hydra_submitit_launcher failed: "),
        ("slurm_local", "hydra.launcher.submitit_folder=/proc/x", "hydra_submitit_launcher failed: "),
        ("basic", "hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size=0 is not allowed"),
    ],
)
def test_an_option_that_the_launcher_does_not_take(launcher: str, option: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip({"slurm_local": "submitit"}.get(launcher, "joblib"))
    done = run(tmp_path, "--multirun", "seed=0,1", f"launcher={launcher}", option, code=2)
    assert f"error: {said}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not [*tmp_path.iterdir()]


class WorkerDied(Exception):
    pass


class Pool(Launcher):
    """Runs two jobs at a time; a job "dies" takes the one beside it and those that wait with it, like joblib's workers."""

    def __init__(self, starts: bool = True) -> None:
        self.starts, self.begun = starts, []  # type: ignore[var-annotated]

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:
        self.sweep = Path(config.hydra.sweep.dir)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        if not self.starts:
            raise WorkerDied
        for start in range(0, len(job_overrides), 2):
            first = initial_job_idx + start
            pair = {first + k: fate for k, (fate,) in enumerate(job_overrides[start : start + 2])}
            for number, fate in pair.items():
                self.begun.append((number, fate))
                folder = self.sweep / f"{number}_job"
                (folder / ".hydra").mkdir(parents=True, exist_ok=True)
                (folder / ".hydra" / "overrides.yaml").write_text(f"- {fate}")
            if "dies" in pair.values():
                raise WorkerDied
            for number in pair:
                (self.sweep / f"{number}_job" / "run.json").write_text('{"status": "finished"}')
        return [JobReturn(status=JobStatus.COMPLETED)] * len(job_overrides)


@pytest.fixture
def joblib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> launchers.Joblib:
    """Our joblib launcher around a :class:`Pool`."""
    executor = pytest.importorskip("joblib.externals.loky.process_executor")
    monkeypatch.setattr(executor, "TerminatedWorkerError", WorkerDied)
    monkeypatch.setattr(launchers.Joblib, "plugin", f"{__name__}.Pool")
    made = launchers.Joblib()
    made.setup(**setting_up(tmp_path))
    return made


def test_a_worker_that_dies_takes_no_other_job_with_it(joblib: launchers.Joblib, tmp_path: Path) -> None:
    fates = ["lives", "lives", "dies", "lives", "lives", "dies", "lives"]
    returned = joblib.launch([[fate] for fate in fates], 0)
    assert len(returned) == len(fates)
    alive = {int(p.parent.name.split("_")[0]) for p in tmp_path.glob("*/run.json")}
    assert alive == {k for k, fate in enumerate(fates) if fate == "lives"}
    # Each of the two pairs with a culprit ran twice: the second time one by one.
    assert [n for n, _ in joblib.wrapped.begun] == [0, 1, 2, 3, 4, 5, 6, 4, 5, 2, 3]


def test_a_pool_that_cannot_begin_is_no_endless_loop(joblib: launchers.Joblib) -> None:
    joblib.wrapped.starts = False
    with pytest.raises(ConfigError, match="die before they start"):
        joblib.launch([["lives"]], 0)


class Waits(Wrapper):
    plugin = f"{__name__}.Pool"

    def run_jobs(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        return self.results(
            [partial(wait, *job) for job in job_overrides], (WorkerDied,), job_overrides, initial_job_idx
        )


def wait(job: str) -> JobReturn:
    if job == "lost":
        raise WorkerDied("its node is gone")
    if job == "bug":
        raise ValueError
    return JobReturn(_return_value=job, status=JobStatus.COMPLETED)


def test_a_lost_job_gives_nothing_instead_of_an_error(tmp_path: Path) -> None:
    launcher = Waits()
    launcher.setup(**setting_up(tmp_path))
    kept, lost = launcher.launch([["kept"], ["lost"]], 0)
    assert (kept.return_value, lost.return_value) == ("kept", None)
    with pytest.raises(ValueError):  # noqa: PT011
        launcher.launch([["bug"]], 0)


def test_a_job_that_never_started_is_in_the_summary(tmp_path: Path) -> None:
    """With what it was; one that started has its own folder already."""
    launcher = Waits()
    launcher.setup(**setting_up(tmp_path))
    (tmp_path / "0_job" / ".hydra").mkdir(parents=True)
    (tmp_path / "0_job" / ".hydra" / "overrides.yaml").write_text("- lost")
    launcher.launch([["lost"]], 0)
    assert [o.folder.name for o in outcomes(tmp_path)] == ["0_job"]
    launcher.results([partial(wait, "lost")], (WorkerDied,), [["algo=ord", "hydra.verbose=true"]], 3)
    lost = outcomes(tmp_path)[-1]
    assert (lost.folder.name, lost.overrides, lost.exit_code) == ("3_lost", "algo=ord", 1)
    assert lost.error == "WorkerDied: its node is gone"


class LocalPlugin:
    """In the place of submitit's local launcher: jobs that call this instead of Hydra."""

    _EXECUTOR = "local"

    def __init__(self, **params: Any) -> None:
        self.params = params

    def setup(self, **arguments: Any) -> None: ...

    def __call__(self, overrides: Sequence[str], dir_key: str, number: int, job_id: str, state: Any) -> JobReturn:

        if overrides == ["dies"]:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)
        return JobReturn(_return_value=(number, list(overrides)), status=JobStatus.COMPLETED)


@pytest.mark.slow
def test_submitit_waits_for_the_jobs_after_one_that_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(launchers.SlurmLocal, "plugin", f"{__name__}.LocalPlugin")
    launcher = launchers.SlurmLocal(submitit_folder=str(tmp_path / "logs" / "%j"), timeout_min=5, name="t")
    launcher.setup(**setting_up(tmp_path))
    returned = launcher.launch([["dies"], ["lives"]], 4)
    assert [r.return_value for r in returned] == [None, (5, ["lives"])]
    assert [o.folder.name for o in outcomes(tmp_path)] == ["4_lost"]
