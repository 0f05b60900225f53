"""What is committed of the study's runs: outputs/study_work to outputs/study.

    ``python -m tests.study.keep``

Of a training the weights without the optimiser's state, its curve and its settings; of an evaluation its rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from invsmooth.core.files import replaced
from invsmooth.records.checkpoints import BEST
from tests.benchmarks.robustness_rows import copy
from tests.study.rows import STAGES, STUDY

WORK = Path("outputs/study_work")
WEIGHTS = ("state_dict", "hyper_parameters")


def keep_network(run: Path, out: Path) -> None:
    copy(run, out)
    if (run / "metrics.csv").is_file():
        shutil.copy(run / "metrics.csv", out / "metrics.csv")
    (out / BEST).parent.mkdir(exist_ok=True)
    content = torch.load(run / BEST, map_location="cpu", weights_only=True)
    with replaced(out / BEST) as path:
        torch.save({key: content[key] for key in WEIGHTS}, path)


def main() -> None:
    for run in sorted(WORK.iterdir()):
        if (run / "results.parquet").is_file() and "_start_" not in run.name:
            keep_network(run, STUDY / run.name)
    for stage in STAGES:
        for run in sorted((WORK / "rows" / stage).glob("*")):
            if (run / "results.parquet").is_file():
                copy(run, STUDY / "rows" / stage / run.name)


if __name__ == "__main__":
    main()
