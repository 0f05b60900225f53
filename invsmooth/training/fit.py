"""Train a network, or take over a training that is kept."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig

from invsmooth.cache import Store
from invsmooth.core.devices import devices_of_job
from invsmooth.core.shards import Shard
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.evaluation.distributed import agree
from invsmooth.pipeline.build import training_key
from invsmooth.training import ReconstructionModule
from invsmooth.training.kept_trainings import BEST, LAST, UNDERWAY, Training
from invsmooth.training.save_underway import SaveUnderway
from invsmooth.training.stop_after import StopAfterBatches

log = logging.getLogger(__name__)

SAVE_EVERY = timedelta(minutes=5)
"""How much of a training can be lost."""


def train(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path, loggers: list[Logger],
    store: Store, record: dict[str, Any], share: Shard,
) -> None:  # fmt: skip
    """Leave the module with the weights of the best validation PSNR, and the checkpoints in the run's folder. A training
    that is in the store is taken over; one that was interrupted goes on."""
    checkpoints = folder / "checkpoints"
    if store.folder is None or cfg.resume is not None:
        fit(cfg, module, data, folder, checkpoints, loggers, cfg.resume)
    else:
        kept = Training(store.folder, training_key(cfg, module, data), module.state_dict())
        checkpoints = kept.checkpoints
        with kept.held() if share.rank == 0 else nullcontext():
            if taken_over := agree(share, kept.finished):
                log.info("trained before with the same settings, data and code: taken over from %s", kept.folder)
                replay(kept.curve(), loggers)
            else:
                train_in(kept, cfg, module, data, folder, loggers, share)
            record["training"] = {"folder": str(kept.folder), "taken_over": taken_over}
            if share.rank == 0:
                kept.copy_to(folder / "checkpoints")
    best = next(p for n in (BEST, LAST) if (p := checkpoints / n).is_file())
    module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])


def train_in(
    kept: Training, cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path,
    loggers: list[Logger], share: Shard,
) -> None:  # fmt: skip
    """Train in the folder of a kept training, from where it was interrupted."""
    last = agree(share, kept.latest)
    if last is not None:
        seen = torch.load(last, map_location="cpu", weights_only=True)["batches_seen"]
        log.info("a training that was interrupted goes on after %d batches: %s", seen, last)
        replay(kept.curve(stop=seen), loggers)
    elif share.rank == 0:
        kept.clear()
    if share.rank == 0:
        curve = CSVLogger(kept.folder, kept.metrics.name, str(time.time_ns()), flush_logs_every_n_steps=1)
        loggers = [*loggers, curve]
    fit(cfg, module, data, folder, kept.checkpoints, loggers, last)
    agree(share, kept.finish)


def replay(curve: Iterable[tuple[Mapping[str, float], int]], loggers: list[Logger]) -> None:
    """Log what was logged by the training that is taken over."""
    for values, step in curve:
        for logger in loggers:
            logger.log_metrics(dict(values), step)


class KeepBest(ModelCheckpoint):
    """Keeps the best weights, also where a training goes on after its folder was moved or is mounted elsewhere: Lightning
    would forget the best score, and later weights would take their place."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        if (Path(now) / BEST).is_file():
            moved = {k: v.replace(before, now, 1) if isinstance(v, str) else v for k, v in state_dict.items()}
            models = {k.replace(before, now, 1): v for k, v in state_dict["best_k_models"].items()}
            state_dict = moved | {"best_k_models": models}
        super().load_state_dict(state_dict)


def fit(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path, checkpoints: Path,
    loggers: list[Logger], resume: str | Path | None,
) -> None:  # fmt: skip
    """Train; the checkpoints are in ``checkpoints`` then."""
    best = KeepBest(
        checkpoints, filename="best", monitor="val/psnr", mode="max", save_last=True, enable_version_counter=False
    )
    # An epoch may take hours.
    callbacks: list[L.Callback] = [best, SaveUnderway(checkpoints / UNDERWAY, SAVE_EVERY)]
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
    trainer.fit(module, datamodule=data, ckpt_path=resume)
    if best.best_model_path:
        log.info("best validation PSNR %.2f dB: %s", float(best.best_model_score or math.nan), best.best_model_path)
