"""A run: config → parts → images → rows → report. The commands call it."""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from invsmooth.cache import Store, content_key
from invsmooth.certificates.best import left_out
from invsmooth.config import scale
from invsmooth.config.machine import check_machine
from invsmooth.config.validate import validate
from invsmooth.core.bars import InnerBar
from invsmooth.core.checkpoints import LAST, checkpoint_file
from invsmooth.core.devices import devices_of_job, in_sweep, set_tf32, starts_processes
from invsmooth.core.errors import ConfigError
from invsmooth.core.obey import ObeySignals
from invsmooth.core.processes import alone, start_processes
from invsmooth.core.shards import Shard
from invsmooth.core.signals import SIGNALS
from invsmooth.core.units import to_grey_levels
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.evaluation.callback import EvaluationCallback
from invsmooth.evaluation.job_plan import print_plans, write_plan
from invsmooth.evaluation.module import EvaluationModule
from invsmooth.evaluation.run import evaluate
from invsmooth.evaluation.settings import Evaluation
from invsmooth.evaluation.watch import GRADIENT, EvaluationWatch
from invsmooth.loggers import build_loggers, close_loggers, describe, log_evaluation
from invsmooth.operators.measurement import Measured, Setting
from invsmooth.pipeline import build, keys, own_code, premises
from invsmooth.pipeline.evaluated import check_operators, evaluated_estimator, keep_network, kept_network
from invsmooth.pipeline.floors import floors
from invsmooth.pipeline.folder_name import check_folder_name
from invsmooth.pipeline.plan import costs_of_image, plan_evaluation, plan_training
from invsmooth.records.earlier_run import check_earlier_run
from invsmooth.records.origin import Origin, read_origin
from invsmooth.records.run_record import note_interruption, recorded
from invsmooth.reporting import report
from invsmooth.training.backbone import ReconstructionModule
from invsmooth.training.fit import Fit, train
from invsmooth.training.going_on import check_going_on, check_same_training
from invsmooth.training.kept_trainings import Training

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Parts:
    """The objects of a run; no module if the estimator is only evaluated."""

    cfg: DictConfig
    estimator: nn.Module
    settings: list[Setting]
    data: ImageDataModule
    module: ReconstructionModule | None
    evaluation: Evaluation
    store: Store
    scale: str | None  # of the training; None: not known


def train_and_evaluate(cfg: DictConfig, folder: Path) -> None:
    """``python -m invsmooth.train``."""
    run(cfg, folder, trains=True)


def evaluate_checkpoint(cfg: DictConfig, folder: Path) -> None:
    """``python -m invsmooth.evaluate``."""
    run(cfg, folder, trains=False)


def run(cfg: DictConfig, folder: Path, trains: bool) -> None:
    """Every error that can be known beforehand is raised before the first network evaluation."""
    started = time.perf_counter()
    if isinstance(cfg.ckpt, str):  # a training's; of an evaluation it is known before the config is composed
        cfg.ckpt = str(checkpoint_file(cfg.ckpt))
    if isinstance(cfg.resume, str):
        cfg.resume = str(checkpoint_file(cfg.resume, LAST))
    validate(cfg)
    check_machine(cfg)
    matplotlib.rcdefaults()  # figures are ours, not those of a matplotlibrc that is lying about
    check_folder_name(folder)
    fix_scale(cfg, trains)
    if cfg.trainer.num_threads is not None:
        torch.set_num_threads(cfg.trainer.num_threads)
    L.seed_everything(cfg.seed, verbose=False)
    parts = build_parts(cfg, trains)
    if impossible := list(parts.evaluation.impossible()):
        log.warning("some cells have no certificate (smoothed all the same):")
        for line in impossible:
            log.warning("  %s", line)
    for line in left_out(parts.evaluation.certifiers):
        log.warning(line)
    if cfg.sweep == "plan":
        plan(parts, folder, started)
        return
    command = "train" if trains else "evaluate"
    check_earlier_run(build.plain(cfg), folder, command)
    several = starts_processes(cfg.trainer.strategy, cfg.trainer.devices)
    with ExitStack() as stack:
        if not several:
            stack.enter_context(alone())
        shard = start_processes(cfg.trainer.accelerator, cfg.trainer.devices, cfg.trainer.strategy)
        record = stack.enter_context(recorded(build.plain(cfg), folder, command)) if shard.rank == 0 else {}
        if shard.rank == 0:
            stack.enter_context(SIGNALS.at_the_end(partial(note_interruption, folder)))
        loggers = run_loggers(cfg, folder, command) if shard.rank == 0 else []
        try:
            if parts.module is not None:
                record |= train_module(parts, parts.module, folder, loggers, shard)
            elif shard.rank == 0 and build.has_weights_alone(cfg):
                kept = keep_network(cfg, parts.estimator, parts.settings, folder)
                log.info("network and weights together, a checkpoint for invsmooth: %s", kept)
            record["parameters"] = sum(p.numel() for p in parts.estimator.parameters())
            record["cells"] = evaluate_images(parts, folder, loggers, shard)
            if shard.rank != 0:
                return
            if cfg.report:
                again = "the same command goes on" if cfg.cache is not None else "the rows are in the run folder"
                with SIGNALS.saying(lambda: f"{again}, with the report"):
                    report([folder], folder / "report")
            log_evaluation(loggers, folder)
        finally:
            close_loggers(loggers, failed=sys.exc_info()[0] is not None)
    print(f"\nrun folder: {folder.resolve()}")


def fix_scale(cfg: DictConfig, trains: bool) -> None:
    """The config, and so all records, have the scale that was chosen.
    Raises: ConfigError: a training without a scale."""
    given, cfg.scale = cfg.scale, scale.scale_of(cfg)
    if given == scale.AUTO:
        log.info(scale.explained(cfg, cfg.scale))
    if trains and cfg.scale is None:
        raise ConfigError(
            "scale has no value; allowed: auto, paper, small (null: in an evaluation, that of its checkpoint)"
        )


def run_loggers(cfg: DictConfig, folder: Path, command: str) -> list[Logger]:
    """Raises: ConfigError: the logger's package is missing, or its server cannot be reached."""
    config = build.plain(cfg)
    return build_loggers(config["logger"], folder, describe(config, folder, command))


def build_parts(cfg: DictConfig, trains: bool) -> Parts:
    """Raises: ConfigError, CheckpointError, DataError: a part cannot be built, or does not fit."""
    settings, estimator = build.build_settings(cfg.operator), build.build_estimator(cfg, trains)
    if trains and not build.has_weights(estimator):
        raise ConfigError(f"estimator._target_={cfg.estimator._target_} has nothing to train; use invsmooth.evaluate")
    if not trains and cfg.ckpt is None and build.has_weights(estimator):
        raise ConfigError("ckpt has no value: give the checkpoint to evaluate, ckpt=PATH")
    trained_at = cfg.scale if trains else None
    if cfg.ckpt is not None and not trains:
        origin = read_origin(cfg.ckpt)
        if origin is not None:
            check_operators(origin, settings, cfg.operator.name)
            trained_at = origin.scale
            say_noise(origin, settings)
        # Only now: an estimator in the config is imported when the config is checked.
        cfg.estimator = evaluated_estimator(cfg, estimator, origin)
    premises.check_estimator(estimator, [s.operator for s in settings])
    premises.check_channels(estimator, cfg.data.channels)
    data = build.build_data(cfg, len(settings), trains)
    for stage in ("fit", "test") if trains else ("test",):
        data.setup(stage)
    premises.check_patches(data)
    premises.check_sizes([s.operator for s in settings], data)
    evaluation = build.build_evaluation(cfg, data.n_tested)
    own_code.try_parts(settings, estimator, evaluation, data, trains)
    module = build.build_module(cfg, estimator) if trains else None
    if module is not None and cfg.resume is not None:
        check_same_training(cfg.resume, build.plain(cfg))
        check_going_on(Path(cfg.resume), module, data.patches, build.trainer_settings(cfg.trainer))
    store = Store(None if cfg.cache is None else Path(cfg.cache))
    return Parts(cfg, estimator, settings, data, module, evaluation, store, trained_at)


def say_noise(origin: Origin, settings: Sequence[Setting]) -> None:
    """Say that the noise of the test is another than that of the training: an easy mistake, and a fair test."""
    trained = origin.operator.get("train_sigma_b")
    tested = [to_grey_levels(s.sigma_b) for s in settings]
    if isinstance(trained, int | float) and not any(math.isclose(t, trained, abs_tol=1e-6) for t in tested):
        levels = ", ".join(f"{t:g}" for t in dict.fromkeys(tested))
        log.info(
            "trained at sigma_b = %g, tested at %s; to test as trained: operator.sigma_b=%g", trained, levels, trained
        )


def cached_training(parts: Parts) -> Training | None:
    """The training in the cache; None if nothing is cached, or a checkpoint is resumed."""
    if parts.module is None or parts.store.folder is None or parts.cfg.resume is not None:
        return None
    key = keys.training_key(parts.cfg, parts.module, parts.data)
    return Training(parts.store.folder, key, parts.module.state_dict())


def train_module(
    parts: Parts, module: ReconstructionModule, folder: Path, loggers: list[Logger], shard: Shard
) -> dict[str, Any]:
    """Returns what run.json says of the training."""
    cfg = parts.cfg
    set_tf32(True)  # as torch does for convolutions
    log.info("training %s with %s", cfg.task.name, cfg.algo.name)
    if "eps" in cfg.algo:
        p, m, eps = cfg.task.patch_size, cfg.task.eps_size, cfg.algo.eps
        log.info("attacks in training: eps = %g on patches of %d×%d, as %g on %d×%d", eps, p, p, eps * m / p, m, m)
    resume = None if cfg.resume is None else Path(cfg.resume)
    trainer, faster = build.trainer_settings(cfg.trainer), faster_than(cfg)
    fit = Fit(module, parts.data, trainer, folder, loggers, shard, resume, faster)
    record = train(fit, cached_training(parts))
    return {"training": record} if record else {}


def faster_than(cfg: DictConfig) -> str:
    """What makes a training of this config faster, as the user would write it."""
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    small = f"{chosen.get('algo')}_small"
    on_cpu = not (cfg.trainer.accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available())
    found = {
        "scale=small": "scale" in cfg and cfg.scale != "small",
        "fewer trainer.max_steps": True,
        "a GPU (trainer=gpu)": on_cpu,
        f"algo={small}": (Path(__file__).parents[1] / "conf" / "algo" / f"{small}.yaml").is_file(),
    }
    return ", ".join(k for k, applies in found.items() if applies)


def evaluate_images(parts: Parts, folder: Path, loggers: list[Logger], shard: Shard) -> dict[str, int]:
    """Write the rows. Returns how many results were computed, and how many were cached."""
    cfg, trainer = parts.cfg, parts.cfg.trainer
    set_tf32(False)
    cache = keys.build_cache(
        cfg, parts.evaluation, parts.estimator, parts.data, parts.store, parts.settings, parts.scale
    )
    files = None
    if cfg.certify.files:
        # Another process may be about to write it.
        ckpt = str(kept_network(folder)) if build.has_weights_alone(cfg) else cfg.ckpt
        files = build.build_files(cfg.operator, cfg.estimator, ckpt, parts.estimator, folder)
    callback = EvaluationCallback(folder, cache, parts.settings, files, shard)
    bar = InnerBar() if trainer.progress_bar else None

    def expected(measured: Measured, number: int) -> float:
        costs = [c for c in costs_of_image(parts.estimator, cache, measured, number) if not c.cached]
        return sum(c.evals + (GRADIENT - 1) * c.gradients for c in costs)

    callback.watch = EvaluationWatch(bar, expected)
    runner = L.Trainer(
        accelerator=trainer.accelerator,
        devices=shard.devices or devices_of_job(trainer.accelerator, trainer.devices, one=True),
        logger=loggers if shard.rank == 0 else False,
        callbacks=[ObeySignals(), callback, *([] if bar is None else [bar])], default_root_dir=folder,
        enable_progress_bar=trainer.progress_bar, enable_model_summary=False, inference_mode=False,
    )  # fmt: skip
    own, device = folder if shard.rank == 0 else None, runner.strategy.root_device
    callback.floors = floors(
        cfg, parts.estimator, parts.settings, parts.data, cache, device, own, parts.module is not None
    )
    parts.data.shard = shard
    write_all = SIGNALS.at_the_end(lambda name: callback.rows.write())
    with SIGNALS.saying(callback.how_to_go_on), SIGNALS.obeyed(), write_all:
        return evaluate(runner, EvaluationModule(parts.estimator, parts.settings), parts.data, callback)


def plan(parts: Parts, folder: Path, started: float) -> None:
    """``sweep=plan``: write the cost estimate, and show it unless a sweep shows it with others.
    ``started``: when the job did, by the performance counter."""
    cfg, training, costs = parts.cfg, "", []
    identity: nn.Module | str = parts.estimator
    if parts.module is not None:
        cached = cached_training(parts)
        key = content_key(str(cfg)) if cached is None else cached.folder.name
        training, cost = plan_training(parts.module, parts.data, build.trainer_settings(cfg.trainer), cached, key)
        if cost is not None:
            costs, identity = [cost], key
    cache = keys.build_cache(cfg, parts.evaluation, identity, parts.data, parts.store, parts.settings, parts.scale)
    start = time.perf_counter() - started
    job = plan_evaluation(folder.name, parts.estimator, parts.settings, parts.data, cache)
    job = dataclasses.replace(job, training=training, costs=[*costs, *job.costs], start=start)
    write_plan(folder, job)
    if not in_sweep():
        print_plans([job])
