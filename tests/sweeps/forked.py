"""Whole sweeps in processes that can be killed: forked from one that has imported everything, so that they start fast."""

from __future__ import annotations

import contextlib
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd

from invsmooth.records.rows import KEY
from tests import processes

SWEEP = [
    "--multirun", "task=cs", "scale=paper", "algo=ord,jcb", "operator.ratio=0.1", "certify.sigma=12,25",
    "operator.train_ratio=[0.1,0.3]", "estimator.n_phases=1", "estimator.channels=4", "data.crop=33", "data.limit=2",
    "attack.eps=[0,0.1]", "attack.n_iter=2", "attack.check_samples=8", "certify=all", "certify.n_samples=24",
    "certify.pictures=1", "task.n_patches=24", "task.batch_size=4", "trainer.max_epochs=2", "trainer.progress_bar=false",
    "trainer.num_threads=1", "report=false",
]  # fmt: skip
"""2 algorithms × 2 sigma, tiny. The two sigma of an algorithm share its training."""

N_JOBS = 4
SERVER = processes.SERVER


def start(root: Path, *arguments: str) -> BaseProcess:
    """A sweep whose outputs go to ``root``; beside it is noted what it prints and what it computes."""
    root.mkdir(exist_ok=True)
    process = SERVER.Process(target=run, args=(str(root), [*arguments]))
    process.start()
    return process


def run(root: str, arguments: list[str]) -> None:
    from invsmooth import train
    from invsmooth.evaluation.result_cache import ResultCache
    from invsmooth.training.kept_trainings import Training

    os.environ["INVSMOOTH_ROOT"] = root
    os.chdir(root)
    events = beside(root, "events").open("a", buffering=1)
    find, put, finish = ResultCache.find, ResultCache.put, Training.finish

    def logged_find(self, measured, number, folder, drop=True):
        found = find(self, measured, number, folder, drop)
        if found is None and drop:  # under the lock
            events.write(f"begin {self.key(measured, number)}\n")
        return found

    def logged_put(self, measured, number, *rest):
        put(self, measured, number, *rest)
        events.write(f"safe {self.key(measured, number)}\n")

    def logged_finish(self):
        finish(self)
        events.write(f"safe {self.folder.name}\n")

    ResultCache.find, ResultCache.put, Training.finish = logged_find, logged_put, logged_finish  # type: ignore[method-assign]
    sys.argv = ["invsmooth-train", *arguments]
    with beside(root, "log").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        train.main()


def beside(root: str | Path, what: str) -> Path:
    return Path(root).with_name(f"{Path(root).name}.{what}")


def printed(root: Path) -> str:
    log = beside(root, "log")
    return log.read_text() if log.exists() else ""


def events(root: Path) -> list[tuple[str, str]]:
    lines = beside(root, "events").read_text().splitlines()
    return [(what, key) for what, key in (line.split() for line in lines)]


def rows(root: Path, sweep: Path | None = None) -> pd.DataFrame:
    """Of the newest sweep, but for the time that they took."""
    folder = sweep or max((root / "outputs" / "sweeps").iterdir())
    found = pd.read_parquet(folder / "results.parquet").drop(columns="seconds")
    return found.sort_values(list(KEY), ignore_index=True)
