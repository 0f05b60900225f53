"""What a cluster, a terminal or another program leaves behind does not change a run; a refused run leaves nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from invsmooth.config.cli import mistake
from tests.fuzz.overrides import TINY
from tests.processes import forked

STRAY = {
    "RANK": "1", "LOCAL_RANK": "1", "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "x",
    "PL_TRAINER_DEVICES": "2", "MPLBACKEND": "bogus", "INVSMOOTH_ROOT": "", "LC_ALL": "C",
}  # fmt: skip
ENVIRONMENT = {
    k: v for k, v in os.environ.items() if k not in STRAY
} | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}  # fmt: skip


def train(folder: Path, *overrides: str, **environment: str) -> tuple[int, str]:
    done = forked("train", *TINY, *overrides, cwd=folder, env=ENVIRONMENT | environment, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_stray_variables_in_a_folder_with_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "a b, c=d"
    folder.mkdir()
    (folder / "matplotlibrc").write_text("text.usetex: True\n")
    code, said = train(folder, "report=true", **STRAY)
    assert code == 0, said
    (run,) = (folder / "outputs" / "cs_ord").iterdir()
    assert (run / "metrics.csv").is_file()
    assert (run / "results.parquet").is_file()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("attack.eps=nan", "attack.eps=nan is not allowed"),
        ("certify.certifiers=[]", "certify.certifiers=[] is not allowed"),
        ("task.patch_size=1000", "smaller than a patch of 1000×1000"),
        ("task.batch_size=1000000000", "this machine has"),
        ("trainer.precision=64-true", "allowed: 32-true, bf16-mixed, 16-mixed"),
        ("trainer.devices=[0]", "not allowed on a CPU"),
        ("cache=/dev/null/x", "cache=/dev/null/x cannot be written"),
        ("hydra.run.dir=/dev/null/x", "hydra.run.dir=/dev/null/x cannot be written"),
        ("seed=-1", "seed=-1 is not allowed"),
        ("logger=wandb logger.project='a/b'", "logger.project=a/b is not allowed; allowed: a name of 1 to 128"),
        ("=1", "the command line cannot be read"),
    ],
)
def test_a_refused_run_leaves_nothing(override: str, said: str, tmp_path: Path) -> None:
    code, printed = train(tmp_path, *override.split())
    assert code == 2
    assert printed.startswith("error: ")
    assert said in printed
    assert "Traceback" not in printed
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_the_home_folder_in_variables_and_keys(tmp_path: Path) -> None:
    """A file of settings does not replace ~, as a shell does."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    code, said = train(tmp_path / "here", "cache='~/kept'", INVSMOOTH_ROOT="~/x", HOME=str(tmp_path / "home"))
    assert code == 0, said
    assert {p.name for p in (tmp_path / "home").iterdir()} >= {"x", "kept"}
    assert [*(tmp_path / "home").glob("x/outputs/*/*/results.parquet")]
    assert not [*(tmp_path / "here").iterdir()]


def test_a_root_that_a_config_would_take_for_a_key(tmp_path: Path) -> None:
    code, said = train(tmp_path, INVSMOOTH_ROOT=str(tmp_path / "a ${x}"))
    assert code == 2
    assert "error: INVSMOOTH_ROOT=" in said
    assert "which a config takes for a key" in said
    assert not [*tmp_path.iterdir()]


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("kept")
    code, _ = train(tmp_path, "seed=-1", "hydra.run.dir=run")
    assert code == 2
    assert [p.name for p in tmp_path.rglob("*")] == ["run", "mine.txt"]


def test_a_second_run_in_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    descriptor = os.open(tmp_path / "run", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        code, said = train(tmp_path, "hydra.run.dir=run")
    finally:
        os.close(descriptor)
    assert code == 2
    assert "another run writes to this folder" in said
    assert not [*(tmp_path / "run").iterdir()]


@pytest.mark.parametrize("what", ["run", ".", "cache"])
def test_a_folder_that_vanishes_during_a_run(what: str, tmp_path: Path) -> None:
    """Unmounted, or removed by another program: one message."""
    here = tmp_path / "here"
    here.mkdir()
    watch = (
        "import pathlib, shutil, time\n"
        f"begun, lost = pathlib.Path({str(here / 'run' / 'metrics.csv')!r}), pathlib.Path({str(here / what)!r})\n"
        "end = time.monotonic() + 100\n"
        "while not begun.exists() and time.monotonic() < end: time.sleep(0.05)\n"
        "shutil.rmtree(lost, ignore_errors=True)\n"
    )
    remover = subprocess.Popen([sys.executable, "-c", watch])
    code, said = train(here, "hydra.run.dir=run", "cache=cache", "task.n_patches=6000", "trainer.max_steps=3000")
    remover.wait()
    assert code == 2, said
    assert "is gone: it was removed or unmounted" in said
    assert "Traceback" not in said
    assert (here / "run").exists() == (what == "cache")


def test_what_the_system_refuses_is_said_in_words() -> None:
    for error in (RuntimeError("can't start new thread"), BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))):
        assert "(ulimit -u)" in str(mistake(error))
    assert "the outputs cannot be written: Stale file handle" in str(
        mistake(OSError(errno.ESTALE, os.strerror(errno.ESTALE)))
    )
    assert mistake(RuntimeError("another one")) is None
    assert mistake(FileNotFoundError(errno.ENOENT, "of a bug", "file")) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity to CPUs")
def test_the_rows_of_one_cpu_are_those_of_many(tmp_path: Path) -> None:
    found = []
    for name, cpus in (("one", {min(os.sched_getaffinity(0))}), ("all", os.sched_getaffinity(0))):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # the command inherits it
        try:
            code, said = train(tmp_path, f"hydra.run.dir={name}", "trainer.num_threads=null", "attack.eps=[0,0.1]")
        finally:
            os.sched_setaffinity(0, before)
        assert code == 0, said
        found.append(pd.read_parquet(tmp_path / name / "results.parquet").drop(columns="seconds"))
    pd.testing.assert_frame_equal(*found, rtol=1e-4, atol=1e-6)
