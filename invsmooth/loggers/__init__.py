"""Experiment loggers (docs/logging.md). Every run writes metrics.csv; ``logger=NAME`` adds one.

It is in the module NAME_run, whose function ``build`` takes the keys of conf/logger/NAME.yaml."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch.loggers import Logger

from invsmooth.core.errors import ConfigError
from invsmooth.loggers.description import COMMON, Description, describe
from invsmooth.loggers.evaluation import Evaluation, gather
from invsmooth.records.curve import Curve

__all__ = ["RunLogger", "build_loggers", "close_loggers", "describe", "log_evaluation"]

log = logging.getLogger(__name__)


@runtime_checkable
class RunLogger(Protocol):
    """A Lightning logger that also takes the results of an evaluation, and can be closed."""

    def log_evaluation(self, found: Evaluation) -> None: ...
    def close(self, failed: bool) -> None: ...


def build_loggers(settings: Mapping[str, Any], folder: Path, description: Description) -> list[Logger]:
    """The loggers of the run in ``folder``; ``settings``: ``logger`` of the config, with its name.

    Raises: ConfigError: the logger's package is not installed, or its server cannot be reached.
    """
    loggers: list[Logger] = [Curve(folder)]
    name, own = f"{__name__}.{settings['name']}_run", {k: v for k, v in settings.items() if k not in COMMON}
    if find_spec(name) is not None:
        try:
            # Imported only now, since its package may be missing.
            loggers.append(import_module(name).build(folder, description, **own))
        except ModuleNotFoundError as error:
            needs = f"logger={settings['name']} needs a package that is not installed"
            raise ConfigError(f"{needs}: pip install -e '.[{settings['name']}]' ({error})") from error
    return loggers


def log_evaluation(loggers: Sequence[Logger], folder: Path) -> None:
    """Log the results in the run folder. A logger that fails does not fail the run."""
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
