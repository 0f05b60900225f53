"""A run from config to report: validate, seed, build, train, evaluate, report. The entry points call it."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from invsmooth.algorithms import ReconstructionModule
from invsmooth.build import build_data, build_estimator, build_module, build_plan, build_settings, has_weights
from invsmooth.callbacks import StopAfterBatches
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.devices import devices_of_job
from invsmooth.distributed import start_processes
from invsmooth.errors import ConfigError
from invsmooth.evaluation import announce, evaluate
from invsmooth.loggers import build_loggers, close_loggers
from invsmooth.reporting import report
from invsmooth.run_record import recorded
from invsmooth.validate import validate

log = logging.getLogger(__name__)


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
    data = build_data(cfg, len(settings), trains)
    for stage in ("fit", "test") if trains else ("test",):
        data.setup(stage)
    module = build_module(cfg, estimator, settings)
    announce(build_plan(cfg, data.n_tested))
    share = start_processes(cfg.trainer)
    with recorded(cfg, folder) if share.rank == 0 else nullcontext():
        try:
            loggers = build_loggers(cfg, folder)
            if trains:
                fit(cfg, module, data, folder, loggers)
            evaluate(cfg, module, data, folder, loggers, share)
            if share.rank != 0:
                return
            if cfg.report:
                report([folder], folder / "report")
        finally:
            close_loggers()
    print(f"\nrun folder: {folder.resolve()}")


def fit(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path, loggers: list[Logger]
) -> None:
    """Train; leave the module with the weights of the best validation PSNR."""
    best = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="val/psnr",
        mode="max",
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[L.Callback] = [best]
    if cfg.trainer.max_steps is not None:
        callbacks.append(StopAfterBatches(cfg.trainer.max_steps))
    if cfg.trainer.progress_bar:
        callbacks.append(RichProgressBar(leave=True))
    if cfg.trainer.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.trainer.ema_decay))
    if cfg.trainer.channels_last:
        module.estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if cfg.trainer.compile:
        module.estimator.compile()
    n_batches = math.ceil(cfg.task.n_patches / cfg.task.batch_size)
    trainer = L.Trainer(
        accelerator=cfg.trainer.accelerator, devices=devices_of_job(cfg.trainer), strategy=cfg.trainer.strategy,
        precision=cfg.trainer.precision, max_epochs=cfg.trainer.max_epochs,
        # Often enough for a curve of an epoch and of a run of a few batches.
        log_every_n_steps=max(1, min(50, (cfg.trainer.max_steps or n_batches) // 10)),
        logger=loggers, callbacks=callbacks, default_root_dir=folder, enable_progress_bar=cfg.trainer.progress_bar,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    n_parameters = sum(p.numel() for p in module.estimator.parameters())
    log.info("training %s with %s: %d parameters", cfg.task.name, cfg.algo.name, n_parameters)
    if "eps" in cfg.algo:
        p, m, eps = cfg.task.patch_size, cfg.task.eps_size, cfg.algo.eps
        log.info("attacks in training: eps = %g on patches of %d×%d, as %g on %d×%d", eps, p, p, eps * m / p, m, m)
    trainer.fit(module, datamodule=data, ckpt_path=cfg.resume)
    if best.best_model_path:
        log.info("best validation PSNR %.2f dB: %s", float(best.best_model_score or math.nan), best.best_model_path)
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)
