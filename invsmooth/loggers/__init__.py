"""Experiment loggers. Every run writes metrics.csv; ``logger=wandb|tensorboard|mlflow`` adds one (docs/logging.md).

What is logged besides the training curves is found once (:mod:`invsmooth.loggers.evaluation`) and given to each logger that
has :meth:`RunLogger.log_evaluation`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from invsmooth.core.errors import ConfigError
from invsmooth.loggers.description import describe
from invsmooth.loggers.evaluation import Evaluation, gather

log = logging.getLogger(__name__)

MODULES = {"wandb": "wandb_run", "tensorboard": "tensorboard_run", "mlflow": "mlflow_run"}
"""Where each logger's ``build`` is: imported when it is asked for, since its package may be missing."""


@runtime_checkable
class RunLogger(Protocol):
    """A Lightning logger that also takes what an evaluation found, and has an end."""

    def log_evaluation(self, found: Evaluation) -> None: ...

    def close(self, failed: bool) -> None: ...


def build_loggers(cfg: DictConfig, folder: Path, trains: bool) -> list[Logger]:
    """The loggers of the run in ``folder``; whether it trains or only evaluates is its job type.

    Raises: ConfigError: the logger's package is not installed, or its server cannot be reached.
    """
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    name = cfg.logger.name
    if name in MODULES:
        description = describe(cfg, folder, "train" if trains else "evaluate")
        try:
            loggers.append(import_module(f"invsmooth.loggers.{MODULES[name]}").build(cfg.logger, folder, description))
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"logger={name} needs a package that is not installed: pip install -e '.[{name}]' ({error})"
            ) from error
    return loggers


def log_evaluation(loggers: Sequence[Logger], folder: Path) -> None:
    """Log what the run folder holds at the end: rows, averages, curves, pictures, figures, checkpoint.

    The results are in the folder by then: a logger that fails is an error in the log and does not fail the run.
    """
    found: Evaluation | None = None
    for logger in loggers:
        if isinstance(logger, RunLogger):
            try:
                found = found or gather(folder)
                logger.log_evaluation(found)
            except Exception:
                log.exception("%s did not take the evaluation, which is in %s", type(logger).__name__, folder)


def close_loggers(loggers: Sequence[Logger], failed: bool = False) -> None:
    """End every logger's run: the next job of this process must not log into it."""
    for logger in loggers:
        if isinstance(logger, RunLogger):
            try:
                logger.close(failed)
            except Exception:
                log.exception("%s was not closed properly", type(logger).__name__)
