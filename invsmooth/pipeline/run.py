"""A run from config to report: validate, seed, build, train, evaluate, report. The entry points call it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from invsmooth.cache import Store
from invsmooth.config.validate import validate
from invsmooth.core.devices import in_sweep
from invsmooth.core.errors import ConfigError
from invsmooth.evaluation.distributed import start_processes
from invsmooth.evaluation.job_plan import print_plans, write_plan
from invsmooth.evaluation.run import announce, evaluate
from invsmooth.loggers import build_loggers, close_loggers, describe, log_evaluation
from invsmooth.pipeline.build import (
    build_data,
    build_estimator,
    build_module,
    build_plan,
    build_settings,
    has_weights,
)
from invsmooth.pipeline.evaluated import check_operators, evaluated_estimator
from invsmooth.pipeline.plan import plan_job
from invsmooth.records.origin import read_origin
from invsmooth.records.run_record import recorded
from invsmooth.reporting import report
from invsmooth.training.fit import train


def train_and_evaluate(cfg: DictConfig, folder: Path) -> None:
    """``python -m invsmooth.train``."""
    validate(cfg)
    run(cfg, folder, trains=True)


def evaluate_checkpoint(cfg: DictConfig, folder: Path) -> None:
    """``python -m invsmooth.evaluate``."""
    validate(cfg)
    run(cfg, folder, trains=False)


def run(cfg: DictConfig, folder: Path, trains: bool) -> None:
    """A whole run in ``folder``. Everything that can be known to fail does so before the first network evaluation."""
    if cfg.trainer.num_threads is not None:
        torch.set_num_threads(cfg.trainer.num_threads)
    L.seed_everything(cfg.seed, verbose=False)
    settings = build_settings(cfg.operator)
    estimator = build_estimator(cfg, trains)
    if trains and not has_weights(estimator):
        raise ConfigError(f"estimator._target_={cfg.estimator._target_} has nothing to train; use invsmooth.evaluate")
    if not trains and cfg.ckpt is None and has_weights(estimator):
        raise ConfigError("ckpt has no value: give the checkpoint to evaluate, ckpt=PATH")
    if cfg.ckpt is not None and not trains:
        origin = read_origin(cfg.ckpt)
        if origin is not None:
            check_operators(origin, settings)
        # Only now that the network is known: an estimator in the config is imported when the config is checked.
        cfg.estimator = evaluated_estimator(cfg, estimator, origin)
    data = build_data(cfg, len(settings), trains)
    for stage in ("fit", "test") if trains else ("test",):
        data.setup(stage)
    module = build_module(cfg, estimator, settings)
    announce(build_plan(cfg, data.n_tested))
    store = Store(None if cfg.cache is None else Path(cfg.cache))
    if cfg.sweep == "plan":
        job = plan_job(cfg, module, data, store, trains, folder.name)
        write_plan(folder, job)
        if not in_sweep():
            print_plans([job])
        return
    share = start_processes(cfg.trainer)
    with ExitStack() as stack:
        record = stack.enter_context(recorded(cfg, folder)) if share.rank == 0 else {}
        loggers = run_loggers(cfg, folder, trains) if share.rank == 0 else []
        try:
            if trains:
                train(cfg, module, data, folder, loggers, store, record, share)
            record["cells"] = evaluate(cfg, module, data, folder, loggers, store, share)
            if share.rank != 0:
                return
            if cfg.report:
                report([folder], folder / "report")
            log_evaluation(loggers, folder)
        finally:
            close_loggers(loggers, failed=sys.exc_info()[0] is not None)
    print(f"\nrun folder: {folder.resolve()}")


def run_loggers(cfg: DictConfig, folder: Path, trains: bool) -> list[Logger]:
    """The loggers of a run; whether it trains or only evaluates is its job type.

    Raises: ConfigError: the logger's package is not installed, or its server cannot be reached.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    return build_loggers(config["logger"], folder, describe(config, folder, "train" if trains else "evaluate"))
