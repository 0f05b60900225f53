"""The jobs of a sweep are found, whatever Hydra's options say of their folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from tests.processes import forked

pytestmark = pytest.mark.slow

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "INVSMOOTH_ROOT"} | {
    "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])
}  # fmt: skip
SWEEP = (
    "--multirun", "estimator=ridge", "task=cs_small", "operator.ratio=0.1", "data.limit=1", "data.crop=33",
    "attack.n_iter=1", "attack.eps=[0]", "certify.n_samples=8", "certify.sigma=25", "report=false",
    "trainer.progress_bar=false", "trainer.num_threads=1", "hydra.sweep.dir=out",
)  # fmt: skip


def sweep(folder: Path, *overrides: str, **environment: str) -> tuple[int, str]:
    done = forked("evaluate", *SWEEP, *overrides, cwd=folder, env=ENVIRONMENT | environment, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "sweep_folder"),
    [
        (["hydra.output_subdir=conf"], "out"),
        (["hydra.output_subdir=null"], "out"),
        (["hydra.sweep.subdir=a/b_${hydra.job.num}"], "out"),
        (["hydra.sweep.subdir='x[${seed}]'", "hydra.sweep.dir='out[1]'"], "out[1]"),
        (["hydra.sweep.dir='out/${seed}'"], "out/0"),
        (["hydra.job.chdir=true", "hydra.job.name=mine"], "out"),
    ],
)
def test_jobs_are_found(options: list[str], sweep_folder: str, tmp_path: Path) -> None:
    code, said = sweep(tmp_path, "seed=0,1", *options)
    assert code == 0, said
    assert "\n2 of 2 jobs finished\n" in said
    rows = pd.read_parquet(tmp_path / sweep_folder / "results.parquet")
    assert sorted(rows["seed"]) == [0, 1]
    # The cache is where the command started, not in the folder of a job that changed its directory.
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("cache") if p.is_dir()] == ["outputs/cache"]


@pytest.mark.parametrize("options", [["hydra.output_subdir=conf"], ["hydra.sweep.subdir=a/${hydra.job.num}"], []])
def test_a_job_that_failed_is_no_success(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    import skimage

    picture = Path(skimage.__file__).parent / "data" / "coins.png"
    (tmp_path / "good" / "coins.png").write_bytes(picture.read_bytes())
    code, said = sweep(tmp_path, "data=folder", "data.root=good,missing", *options)
    assert code == 2, said
    assert "1 of 2 jobs finished, 1 did not:" in said
    assert "data.root=missing" in said


def test_two_jobs_in_one_folder(tmp_path: Path) -> None:
    """The first one's rows stay; the second is refused."""
    code, said = sweep(tmp_path, "seed=0,1", "hydra.sweep.subdir=same")
    assert code == 2, said
    assert "1 of 2 jobs finished, 1 did not:" in said
    assert "hydra.sweep.subdir=same: job 0 has this folder, too" in said
    assert [*pd.read_parquet(tmp_path / "out" / "same" / "results.parquet")["seed"]] == [0]
    assert json.loads((tmp_path / "out" / "same" / "run.json").read_text())["status"] == "finished"


def test_each_job_has_a_run_of_its_own(tmp_path: Path) -> None:
    """Where the environment names one W&B run for all."""
    pytest.importorskip("wandb")
    code, said = sweep(tmp_path, "seed=0,1", "logger=wandb", WANDB_RUN_ID="mine", WANDB_MODE="offline")
    assert code == 0, said
    assert sorted(p.name for p in tmp_path.rglob("*.wandb")) == ["run-mine-0.wandb", "run-mine-1.wandb"]
    assert "WANDB_RUN_ID=mine is set" in said


def test_jobs_of_an_earlier_command_are_not_of_this_one(tmp_path: Path) -> None:
    """Whether they failed or not. They stay, and the sweep says so."""
    code, said = sweep(tmp_path, "data.crop=33,40,4000")
    assert code == 2
    assert "2 of 3 jobs finished, 1 did not:" in said
    code, said = sweep(tmp_path, "data.crop=40")
    assert code == 0, said
    assert "1 of 1 jobs finished" in said
    assert "3 jobs of earlier commands are in the folder, too (0_" in said
    assert "python -m invsmooth.report runs=out" in said
    rows = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert rows["run_id"].nunique() == 1
    assert len([*tmp_path.glob("out/*/results.parquet")]) == 3
    code, said = sweep(tmp_path, "data.crop=33,40")  # one of which has the folder of an earlier one, the other has not
    assert code == 0, said
    assert "2 of 2 jobs finished" in said
    assert "2 jobs of earlier commands" in said
