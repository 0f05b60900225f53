"""A command overwrites no rows of another run, and leaves a folder that it is refused as it was."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from invsmooth.config import machine
from invsmooth.core.errors import FolderTaken
from invsmooth.records.earlier_run import check_earlier_run
from invsmooth.records.run_record import recorded
from tests.cli.test_environment import ENVIRONMENT
from tests.fuzz.overrides import TINY
from tests.processes import forked


def command(folder: Path, module: str, *arguments: str) -> tuple[int, str, str]:
    done = forked(module, *arguments, cwd=folder, env=ENVIRONMENT, timeout=200)
    return done.returncode, done.stdout, done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.slow
def test_the_rows_of_a_finished_run_stay(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command(tmp_path, "train", *TINY, "hydra.run.dir=run")[0] == 0
    before, rows = contents(run), pd.read_parquet(run / "results.parquet")
    for module, arguments in (
        ("train", (*TINY, "operator.ratio=0.3")),
        ("evaluate", ("ckpt=run",)),
        ("audit", ("ckpt=run",)),
        ("train", (*TINY, "operator.ratio=0.3", "sweep=plan")),
    ):
        code, _, said = command(tmp_path, module, *arguments, "hydra.run.dir=run")
        if "sweep=plan" not in arguments:
            assert code == 2
            assert f"{run} has the rows of another run" in said
            assert "hydra.run.dir=" in said
        assert contents(run) == before
    # Not what the rows say: the same run again.
    assert command(tmp_path, "train", *TINY, "hydra.run.dir=run", "data.num_workers=1")[0] == 0
    again = pd.read_parquet(run / "results.parquet")
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), rows.drop(columns="seconds"))


@pytest.mark.slow
def test_the_rows_of_a_finished_sweep_stay(tmp_path: Path) -> None:
    sweep = ("--multirun", *TINY, "seed=0,1", "hydra.sweep.dir=sweep")
    assert command(tmp_path, "train", *sweep)[0] == 0
    before = {p: p.read_bytes() for p in tmp_path.glob("sweep/*/results.parquet")}
    assert len(before) == 2
    code, said, _ = command(tmp_path, "train", *sweep, "operator.ratio=0.3")
    assert code == 2
    assert "0 of 2 jobs finished" in said
    assert said.count("error: FolderTaken: ") == said.count("operator.ratio: [0.1, 0.3] there, 0.3 here") / 2 == 2
    assert {p: p.read_bytes() for p in before} == before
    assert not [*tmp_path.rglob("failed.json")]
    code, said, _ = command(tmp_path, "train", *sweep)
    assert code == 0
    assert "2 of 2 jobs finished" in said
    whole = contents(tmp_path / "sweep")
    assert command(tmp_path, "train", *sweep, "algo=ord,bogus")[0] == 2  # refused as a whole
    assert {k: v for k, v in whole.items() if not k.startswith(".jobs")} == contents(tmp_path / "sweep")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--multirun", "algo=ord,bogus", "hydra.sweep.dir=new/sweep"), "algo=bogus is not allowed"),
        (("--multirun", "seed=0,bogus"), "seed=bogus is not allowed"),
        (("--multirun", "seed=0,1", "hydra.run.dir=new"), "hydra.run.dir=new has no effect beside --multirun"),
        (("hydra.run.dir=",), "hydra.run.dir= is empty; give a folder"),
        (("hydra.sweep.dir=new",), "hydra.sweep.dir=new has no effect without --multirun"),
        (("--multirun", "seed=0,1", "hydra.sweep.dir=run"), "hydra.sweep.dir=run is the folder of a run"),
    ],
)
def test_a_refused_sweep_leaves_nothing(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with recorded({"seed": 0}, made(tmp_path / "run"), "train"):
        pass
    before = contents(tmp_path)
    code, _, printed = command(tmp_path, "train", *arguments, *TINY)
    assert code == 2
    assert said in printed
    assert contents(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_plan_leaves_nothing(tmp_path: Path) -> None:
    code, said, _ = command(tmp_path, "train", *TINY, "sweep=plan")
    assert code == 0
    assert "What this would do" in said
    assert not [*tmp_path.iterdir()]


def test_a_plan_names_the_jobs_that_it_cannot_plan(tmp_path: Path) -> None:
    """None of which has a folder."""
    code, said, _ = command(tmp_path, "train", "--multirun", *TINY, "algo=ord,fit", "sweep=plan")
    assert code == 2
    assert "1 of 2 jobs can be planned, 1 cannot:" in said
    assert "error: ConfigError: algo: algo=fit: ISTANetPP has no closed-form fit; use algo=ord" in said
    assert "folder:" not in said
    assert not [*tmp_path.iterdir()]


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


CONFIG = {"seed": 0, "cache": "c", "trainer": {"num_threads": 1, "precision": "32"}, "attack": {"eps": [0.0, 0.1]}}


@pytest.mark.parametrize(
    ("change", "module", "said"),
    [
        ({}, "train", ""),
        ({"cache": None, "trainer": {"num_threads": 2, "precision": "32"}}, "train", ""),
        ({}, "evaluate", "train there, evaluate here"),
        ({"seed": 1}, "train", "seed: 0 there, 1 here"),
        ({"attack": {"eps": [0.0]}}, "train", r"attack.eps: \[0.0, 0.1\] there, \[0.0\] here"),
        ({"ckpt": "x"}, "train", "ckpt: not set there, x here"),
    ],
)
def test_which_run_is_the_same(change: Mapping[str, object], module: str, said: str, tmp_path: Path) -> None:
    with recorded(CONFIG, tmp_path, "train"):
        pass
    check_earlier_run(CONFIG | {"seed": 7}, tmp_path, "train")  # no rows yet
    (tmp_path / "results.parquet").touch()
    if not said:
        check_earlier_run(CONFIG | change, tmp_path, module)
        return
    with pytest.raises(FolderTaken, match=said):
        check_earlier_run(CONFIG | change, tmp_path, module)


def test_a_difference_at_the_end_of_a_long_value_counts(tmp_path: Path) -> None:
    long = CONFIG | {"data": {"root": "a" * 300 + "b"}}
    with recorded(long, tmp_path, "train"):
        (tmp_path / "results.parquet").touch()
    check_earlier_run(long, tmp_path, "train")
    with pytest.raises(FolderTaken, match=r"data\.root: aaa"):
        check_earlier_run(CONFIG | {"data": {"root": "a" * 300 + "c"}}, tmp_path, "train")


@pytest.mark.parametrize("config", [None, "[", "- 1"])
def test_rows_without_a_config_are_not_overwritten(config: str | None, tmp_path: Path) -> None:
    (tmp_path / "audit.parquet").touch()
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(FolderTaken, match=r"has audit\.parquet, but no config\.yaml"):
        check_earlier_run(CONFIG, tmp_path, "train")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("algo=glob(zz*)", "algo=glob(zz*) has no value, so that the sweep has no job; a glob matches options"),
        (
            "ckpt=glob(outputs/*)",
            "ckpt=glob(outputs/*) has no value, so that the sweep has no job; a glob matches options",
        ),
        ("seed=range(3,3)", "seed=range(3,3) has no value, so that the sweep has no job; give values"),
        ("seed=0,1,0", "seed=0,1,0 has 0 twice, so that the same job would run twice"),
        ("operator.sigma_b=5.0,5.00", "operator.sigma_b=5.0,5.00 has 5.0 twice"),
        ("certify.sigma=25,25.0", "certify.sigma=25,25.0 has 25.0 twice"),
        ("attack.eps=[0,0.5],[0.0,5e-1]", "attack.eps=[0,0.5],[0.0,5e-1] has [0.0,0.5] twice"),
    ],
)
def test_a_sweep_over_nothing_names_what_matched_nothing(override: str, said: str, tmp_path: Path) -> None:
    code, _, printed = command(tmp_path, "train", "--multirun", *TINY, override)
    assert code == 2
    assert printed.startswith(f"error: {said}")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("launcher", ["launcher=slurm", "hydra/launcher=joblib"])
def test_a_launcher_of_a_single_run_is_refused(launcher: str, tmp_path: Path) -> None:
    """Hydra would compute here, on the login node of the cluster."""
    code, _, printed = command(tmp_path, "train", *TINY, launcher)
    assert code == 2
    assert printed.startswith(f"error: {launcher} has no effect without --multirun; add it, also for a single job")
    assert not [*tmp_path.iterdir()]


def test_reports_are_no_sweep(tmp_path: Path) -> None:
    code, _, printed = command(tmp_path, "report", "--multirun", "runs=a,b", "out=report")
    assert code == 2
    assert printed.startswith("error: report has no --multirun")
    assert "runs=[A,B]" in printed
    assert not [*tmp_path.iterdir()]


def test_a_kind_of_results_that_cannot_be_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user other than root finds it in time."""
    cells = made(tmp_path / "cells")

    def tried(folder: Path) -> None:
        if folder == cells:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(machine, "try_to_write", tried)
    (said,) = machine.folder_conflicts(tmp_path)
    assert (
        said == f"cache={tmp_path} cannot be written: Permission denied ({cells}); give another folder, or cache=null"
    )
