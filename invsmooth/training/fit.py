"""Train a network, or reuse a cached training."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import Logger

from invsmooth.core.bars import InnerBar
from invsmooth.core.errors import CheckpointError
from invsmooth.core.memory import switched_off
from invsmooth.core.obey import ObeySignals
from invsmooth.core.processes import agree
from invsmooth.core.shards import Shard
from invsmooth.core.signals import SIGNALS, Interrupted
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.fastest import is_faster, kernels, key_of, once
from invsmooth.operators import LinearOperator
from invsmooth.records.curve import Curve
from invsmooth.training import ReconstructionModule
from invsmooth.training.kept_trainings import BEST, LAST, UNDERWAY, Training
from invsmooth.training.stop_after import StopAfterBatches
from invsmooth.training.watch import TrainingWatch

log = logging.getLogger(__name__)

SAVE_EVERY = timedelta(minutes=5)  # how much of a training can be lost when it is killed
SHORT = 1.0  # seconds of a batch that is finished before an interruption


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """How Lightning trains."""

    max_epochs: int
    accelerator: str = "auto"
    devices: Any = 1
    strategy: str = "auto"
    precision: Any = "32-true"
    max_steps: int | None = None  # batches after which training stops; None: after max_epochs
    compile: bool = False
    channels_last: bool | None = None  # None: where it is faster
    ema_decay: float | None = None  # of an average of the weights, which is validated and kept
    progress_bar: bool = True


@dataclass(frozen=True)
class Fit:
    """What is trained, on what, how, in which run's folder, from which checkpoint on."""

    module: ReconstructionModule
    data: ImageDataModule
    settings: TrainerSettings
    folder: Path
    loggers: list[Logger]
    shard: Shard
    resume: Path | None = None
    faster: str = ""  # what would make a long training faster, in words


def train(fit: Fit, cached: Training | None) -> dict[str, Any]:
    """Leave the module with the weights of the best validation PSNR, and the checkpoints in the
    run's folder. A finished training in the cache is reused, an interrupted one goes on.

    Returns: for the record of the run: the cached folder, and whether it was reused."""
    checkpoints, record = fit.folder / "checkpoints", {}
    if cached is None:
        with SIGNALS.saying(partial(how_to_go_on, checkpoints, cached=False)):
            run_trainer(fit, checkpoints, fit.loggers, fit.resume)
    else:
        checkpoints = cached.checkpoints
        with cached.held() if fit.shard.rank == 0 else nullcontext():
            if taken_over := agree(fit.shard, cached.finished):
                log.info("trained before with the same settings, data and code: reused from %s", cached.folder)
                replay(cached.curve(), fit.loggers)
            else:
                train_in(cached, fit)
            record = {"folder": str(cached.folder), "taken_over": taken_over}
            if fit.shard.rank == 0:
                cached.copy_to(fit.folder / "checkpoints")
    best = next((p for n in (BEST, LAST) if (p := checkpoints / n).is_file()), None)
    if best is None:
        raise CheckpointError(
            f"resume={fit.resume}: nothing was left to train; evaluate it with invsmooth.evaluate ckpt="
        )
    fit.module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])
    return record


def train_in(cached: Training, fit: Fit) -> None:
    last, loggers = agree(fit.shard, cached.latest), fit.loggers
    if last is not None:
        seen = torch.load(last, map_location="cpu", weights_only=True)["batches_seen"]
        log.info("an interrupted training goes on after %d batches: %s", seen, last)
        replay(cached.curve(stop=seen), loggers)
    elif fit.shard.rank == 0:
        cached.clear()
    if fit.shard.rank == 0:
        curve = Curve(cached.metrics / str(time.time_ns()), flush_every=1)
        loggers = [*loggers, curve]
    with SIGNALS.saying(partial(how_to_go_on, cached.checkpoints, cached=True)):
        run_trainer(fit, cached.checkpoints, loggers, last)
    agree(fit.shard, cached.finish)


def replay(curve: Iterable[tuple[Mapping[str, float], int]], loggers: list[Logger]) -> None:
    for values, step in curve:
        for logger in loggers:
            logger.log_metrics(dict(values), step)


class SaveUnderway(L.Callback):
    """Save a training now and then, and when it is interrupted, so that little of it is lost.
    Lightning's own ``train_time_interval`` does nothing where the optimisation is manual.

    An interruption within a short batch waits for its end. One within a long batch saves the state
    at the end of the batch before, which is still there until the batch changes the weights."""

    def __init__(self, path: Path) -> None:
        self.path, self.saved = path, time.monotonic()
        self.began = time.monotonic()
        self.whole: dict[str, Any] = {}  # of the state after the last batch: what this batch changes
        self.buffers: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.began = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, ReconstructionModule)
        if SIGNALS.pending is not None:
            # Lightning logs a batch only later: the curve would lack it.
            trainer._logger_connector.update_train_step_metrics()
            self.save_alone(trainer, {})
            SIGNALS.stop()
        # The next batch will probably take as long as this one. It is finished first.
        SIGNALS.held = time.monotonic() - self.began < SHORT
        # All processes save together, or none does.
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= SAVE_EVERY.total_seconds()):
            trainer.save_checkpoint(self.path, weights_only=False)
            self.saved, self.whole = time.monotonic(), {}
        elif time.monotonic() - self.began >= SHORT:
            self.whole = whole_state(trainer, pl_module)
            self.buffers = versions(pl_module)
        else:
            self.whole = {}

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        SIGNALS.held = False

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        SIGNALS.held = False

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.whole = {}  # it was saved after the validation

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        SIGNALS.held = False
        if not isinstance(exception, Interrupted) or not isinstance(pl_module, ReconstructionModule):
            return
        if self.whole and trainer.training and not pl_module.stepped and self.buffers == versions(pl_module):
            self.save_alone(trainer, self.whole)

    def save_alone(self, trainer: L.Trainer, instead: dict[str, Any]) -> None:
        """Save without waiting for other processes, which may be anywhere now; the first one has all."""
        if trainer.is_global_zero:
            checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            trainer.strategy.save_checkpoint(checkpoint | instead, self.path)


def whole_state(trainer: L.Trainer, module: ReconstructionModule) -> dict[str, Any]:
    """What a checkpoint saved now would hold, but for weights and optimiser."""
    return {
        "epoch": trainer.current_epoch, "global_step": trainer.global_step, "batches_seen": module.batches_seen,
        "loops": copy.deepcopy(trainer._checkpoint_connector._get_loops_state_dict()),
        **{name: getattr(module, name) for name in module.carried},
    }  # fmt: skip


def versions(module: ReconstructionModule) -> list[int]:
    """They change with the buffers, some of which (running means) a forward pass changes."""
    return [buffer._version for buffer in module.estimator.buffers()]


def how_to_go_on(checkpoints: Path, cached: bool) -> str:
    """For a user whose training was interrupted."""
    found = [p for n in (LAST, UNDERWAY) if (p := checkpoints / n).is_file()]
    if not found:
        return "no batch was kept; the same command starts the training again"
    last = max(found, key=lambda p: p.stat().st_mtime_ns)
    seen = torch.load(last, map_location="cpu", weights_only=True)["batches_seen"]
    return f"the same command{'' if cached else f' with resume={last}'} goes on from batch {seen + 1}"


class KeepBest(ModelCheckpoint):
    """Keeps the best weights, also if a training goes on after its folder was moved or mounted
    elsewhere. Lightning would forget the best score, and later weights would take their place."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        if (Path(now) / BEST).is_file():
            moved = {k: v.replace(before, now, 1) if isinstance(v, str) else v for k, v in state_dict.items()}
            models = {k.replace(before, now, 1): v for k, v in state_dict["best_k_models"].items()}
            state_dict = moved | {"best_k_models": models}
        super().load_state_dict(state_dict)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if not self._should_save_on_train_epoch_end(trainer):
            self.save_last_always(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if self._should_save_on_train_epoch_end(trainer):
            self.save_last_always(trainer)

    def save_last_always(self, trainer: L.Trainer) -> None:
        """Lightning saves the last weights only together with new best ones. A killed training would go on from those."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


def in_channels_last(settings: TrainerSettings, module: ReconstructionModule, data: ImageDataModule) -> bool:
    if settings.channels_last is not None or switched_off():
        return bool(settings.channels_last)
    operator, estimator, side = module.train_operators[0], module.estimator, data.patches.patch_size
    weights = kernels(estimator)
    if not weights:
        return False
    assert isinstance(operator, LinearOperator)
    y = operator.A(torch.full((1, data.channels, side, side), 0.5))
    return once(key_of("channels_last", estimator, y), lambda: is_faster(estimator, operator, y, weights))


def run_trainer(fit: Fit, checkpoints: Path, loggers: list[Logger], resume: Path | None) -> None:
    """Train. Afterwards the checkpoints are in ``checkpoints``."""
    settings, module, data = fit.settings, fit.module, fit.data
    best = KeepBest(
        checkpoints, filename="best", monitor="val/psnr", mode="max", save_last=True, enable_version_counter=False
    )
    bar = InnerBar(leave=True) if settings.progress_bar else None
    watch = TrainingWatch(settings.max_steps, data.patches.batch_size, fit.faster, bar)
    callbacks: list[L.Callback] = [best, ObeySignals(), watch]
    if settings.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=settings.ema_decay))
    # An epoch may take hours. After the average of the weights, which it saves, too.
    callbacks.append(SaveUnderway(checkpoints / UNDERWAY))
    if settings.max_steps is not None:
        callbacks.append(StopAfterBatches(settings.max_steps))
    if bar is not None:
        callbacks.append(bar)
    if in_channels_last(settings, module, data):
        module.estimator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if settings.compile:
        module.estimator.compile()
    n_batches = math.ceil(data.patches.n_patches / data.patches.batch_size)
    trainer = L.Trainer(
        accelerator=settings.accelerator, devices=settings.devices, strategy=settings.strategy,
        precision=settings.precision, max_epochs=settings.max_epochs,
        # Often enough for a curve of an epoch and of a run of a few batches.
        log_every_n_steps=max(1, min(50, (settings.max_steps or n_batches) // 10)),
        logger=loggers, callbacks=callbacks, default_root_dir=fit.folder, enable_progress_bar=settings.progress_bar,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    n_parameters = sum(p.numel() for p in module.estimator.parameters())
    evals, size = module.evals_per_batch, data.patches.batch_size
    log.info("training %d parameters: %d network evaluations of %d patches for each batch", n_parameters, evals, size)
    with SIGNALS.obeyed():
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    module.estimator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if best.best_model_path:
        log.info("best validation PSNR %.2f dB: %s", float(best.best_model_score or math.nan), best.best_model_path)
