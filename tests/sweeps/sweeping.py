"""Run the tests' sweep: a job that lives, one that fails and one that is killed, with a given launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from invsmooth.core.memory import SWITCH
from tests.processes import forked
from tests.sweeps.mortal import ARGUMENTS

REPOSITORY = Path(__file__).parents[2]


def run(
    folder: Path, *arguments: str, code: int, module: str = "train", several: bool = False
) -> subprocess.CompletedProcess[str]:
    """A command line with the arguments of :mod:`tests.sweeps.mortal` and these; ``--multirun`` goes first. A command that
    starts ``several`` processes runs in a new Python, which takes longer."""
    modes = [a for a in arguments if a == "--multirun"]
    given = [*modes, *ARGUMENTS, *(a for a in arguments if a not in modes)]
    # Whether bfloat16 is faster is measured: on a busy machine, not alike in two runs whose rows have to be equal.
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), SWITCH: "0"}
    if several:
        done = subprocess.run(
            [sys.executable, "-m", f"invsmooth.{module}", *given],
            cwd=folder, capture_output=True, text=True, timeout=300, env=environment,
        )  # fmt: skip
    else:
        done = forked(module, *given, cwd=folder, env=environment, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def comparable(folder: Path) -> pd.DataFrame:
    """The rows but for what differs between two runs of the same thing."""
    # Without what pandas notes of its types: a sweep's file went through it, a run's did not.
    table = pq.read_table(folder / "results.parquet").replace_schema_metadata()
    return table.to_pandas().drop(columns=["run_id", "seconds"])


ONE_JOB = ["algo=adv", "task.n_iter=1", "report=false", "seed=3"]
"""algo=adv has a resolver of ours in its config, which every worker has to know."""


def check_sweep(tmp_path: Path, launcher: str, alone: pd.DataFrame) -> None:
    """The launcher's table is that of a job run alone, whatever became of the other jobs, which the summary names."""
    fates, sweep = "+estimator.fate=lives,fails,dies", tmp_path / "sweep"
    done = run(tmp_path, "--multirun", *ONE_JOB, fates, f"launcher={launcher}", "hydra.sweep.dir=sweep", code=1,
               several=True)  # fmt: skip
    pd.testing.assert_frame_equal(comparable(sweep), alone, check_exact=True)
    told = done.stdout[done.stdout.index("1 of 3 jobs finished, 2 did not:") :]
    fails, dies = (told.index(f"{n}_denoise_adv_fate-{fate}: ") for n, fate in ((1, "fails"), (2, "dies")))
    assert fails < told.index("error: ConfigError: estimator: a bug of the estimator") < dies
    assert dies < told.index("error: died and left no error: killed, out of memory")
    assert "+estimator.fate=dies" in told
    assert {p.name for p in sweep.glob("[0-9]*")} == {
        f"{n}_denoise_adv_fate-{fate}" for n, fate in enumerate(("lives", "fails", "dies"))
    }
    assert {p.name for p in tmp_path.iterdir()} == {"sweep"}
