"""A sweep that is killed and started again, or runs twice at once, ends with the rows of an undisturbed one."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps.forked import N_JOBS, SWEEP, beside, events, printed, rows, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a sweep, and the seconds that it took."""
    root, started = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    finish(start(root, *SWEEP), root)
    return root, time.monotonic() - started


def finish(process, root: Path, code: int = 0) -> None:
    process.join(300)
    assert process.exitcode == code, printed(root)[-3000:]


def test_every_job_explains_itself(undisturbed: tuple[Path, float]) -> None:
    root, _ = undisturbed
    sweep = max((root / "outputs" / "sweeps").iterdir())
    jobs = [p for p in sweep.iterdir() if p.is_dir() and (p / "run.json").is_file()]
    assert len(jobs) == N_JOBS
    taken_over = 0
    for job in jobs:
        record = json.loads((job / "run.json").read_text())
        assert record["status"] == "finished"
        assert {"command", "versions", "git", "seed"} <= set(record)
        assert (job / "config.yaml").is_file()
        assert (job / "train.log").is_file()
        assert len(pd.read_parquet(job / "results.parquet")) == 2 * 2 * 4  # images, eps, certifiers
        assert len(pd.read_csv(job / "metrics.csv")["train/loss"].dropna()) > 0
        assert (job / "checkpoints" / "best.ckpt").is_file()
        taken_over += record["training"]["taken_over"]
    # One training for each algorithm, one attack for each image, eps and algorithm, whatever the sigma.
    assert taken_over == N_JOBS - 2
    assert len(list((root / "outputs" / "cache" / "attack").glob("*/*"))) == 2 * 2 * 2


def test_killed_at_any_moment_and_started_again(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    reference, seconds = undisturbed
    moments = random.Random(0)
    kills = 0
    root = tmp_path / "root"
    while kills < 10:
        process = start(root, *SWEEP)
        process.join(moments.uniform(0.1, 0.3) * seconds)
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:  # all was done before it could be killed: begin anew
            finish(process, root)
            check(reference, root)
            shutil.rmtree(root)
            beside(root, "events").unlink()
    finish(start(root, *SWEEP), root)
    check(reference, root)


def curves(root: Path) -> list[pd.DataFrame]:
    """What each job of the newest sweep logged of its training, whether it trained or took the training over."""
    sweep = max((root / "outputs" / "sweeps").iterdir())
    logged = [pd.read_csv(path) for path in sorted(sweep.glob("*/metrics.csv"))]
    return [f[["step", "train/loss", "val/psnr"]].dropna(thresh=2).reset_index(drop=True) for f in logged]


def check(reference: Path, root: Path) -> None:
    pd.testing.assert_frame_equal(rows(root), rows(reference))
    for whole, own in zip(curves(reference), curves(root), strict=True):
        pd.testing.assert_frame_equal(own, whole)
    safe: set[str] = set()
    for what, key in events(root):
        assert what == "safe" or key not in safe, "a cell was computed again after its rows were safe"
        safe |= {key} if what == "safe" else set()


def test_two_sweeps_at_once(undisturbed: tuple[Path, float], tmp_path: Path) -> None:
    """The same rows, in folders of their own, and everything computed once."""
    both = [start(tmp_path, *SWEEP) for _ in range(2)]
    for process in both:
        finish(process, tmp_path)
    sweeps = list((tmp_path / "outputs" / "sweeps").iterdir())
    assert len(sweeps) == 2
    for sweep in sweeps:
        pd.testing.assert_frame_equal(rows(tmp_path, sweep), rows(undisturbed[0]))
    done = events(tmp_path)
    assert len(done) == len(set(done))
    assert {key for what, key in done if what == "begin"} < {key for what, key in done if what == "safe"}
