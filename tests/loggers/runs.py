"""Tiny runs in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf

from invsmooth.pipeline import run as pipeline
from invsmooth.records.rows import read_rows
from tests.config.test_config import config

TINY = [
    "task=cs", "scale=paper", "estimator.n_phases=2", "estimator.channels=4", "task.batch_size=4", "data.crop=33",
    "data.limit=1",
    "algo=smt_grad", "algo.n_samples=2", "algo.t_step=2", "trainer.max_steps=6", "trainer.progress_bar=false",
    "trainer.num_threads=1", "attack.n_iter=1", "attack.eps=[0,0.05,2]", "attack.check_samples=0", "certify.n_samples=20",
    "certify.sigma=[12,25]", "certify.certifiers=[discrepancy,error]", "certify.files=false",
    "cache=null",
]  # fmt: skip
N_BATCHES = 6


def plain(cfg: DictConfig) -> Any:
    """The config as loggers get it."""
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)


def read(folder: Path) -> pd.DataFrame:
    """The rows of a run."""
    return read_rows([folder])[0]


def run(folder: Path, *overrides: str) -> None:
    """``python -m invsmooth.train``, but for Hydra."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.train_and_evaluate(config(*TINY, *overrides), folder)


def run_that_does_little(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, *overrides: str
) -> None:
    """Neither training nor evaluation; ends with ``error``."""

    def evaluate(*args: object) -> dict[str, int]:
        if error:
            raise error
        return {}

    monkeypatch.setattr(pipeline, "train", lambda *args: True)
    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    monkeypatch.setattr(pipeline, "log_evaluation", lambda *args: None)
    run(folder, "report=false", *overrides)
