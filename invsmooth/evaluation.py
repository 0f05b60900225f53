"""Attack and certify a network on the test images: Lightning's test loop with the two sweeps as callbacks."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from invsmooth.algorithms import ReconstructionModule
from invsmooth.build import build_attack, build_files, build_plan
from invsmooth.callbacks import AttackSweep, CertifyPlan, CertifySweep, SandwichCheck
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.devices import devices_of_job
from invsmooth.distributed import Part, meet, merge_rows, pooled, raise_errors
from invsmooth.errors import CertificateViolation
from invsmooth.share import ALL, Share

log = logging.getLogger(__name__)


def announce(plan: CertifyPlan) -> None:
    """Say before any work which cells have no certificate, why, and what would give one."""
    if impossible := plan.impossible():
        log.warning("some cells have no certificate (smoothed all the same):")
        for line in impossible:
            log.warning("  %s", line)


def evaluate(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path, loggers: list[Logger],
    share: Share = ALL,
) -> None:  # fmt: skip
    """Write ``folder/results.parquet``. Where several processes run this, each on its device, every image counts once."""
    plan, attack = build_plan(cfg, data.n_tested), build_attack(cfg)
    check = SandwichCheck(folder, cfg.attack.check_samples, plan.quantile, plan.seed, plan.chunk_size)
    columns = {
        "run_id": f"{folder.parent.name}/{folder.name}", "algo": cfg.algo.name, "task": cfg.task.name,
        "dataset": data.name, "operator": cfg.operator.name, "attack": attack.name, "attack_target": attack.target.kind,
    }  # fmt: skip
    files = build_files(cfg, module.estimator, plan, folder) if cfg.certify.files else None
    callbacks: list[L.Callback] = [
        AttackSweep(attack),
        CertifySweep(plan, columns, folder, cfg.certify.pictures, check, files, share),
    ]
    if cfg.trainer.progress_bar:
        callbacks.append(RichProgressBar())
    trainer = L.Trainer(
        accelerator=cfg.trainer.accelerator, devices=share.devices or devices_of_job(cfg.trainer, one=True),
        logger=loggers if share.world == 1 else False, callbacks=callbacks, default_root_dir=folder,
        enable_progress_bar=cfg.trainer.progress_bar, enable_model_summary=False, inference_mode=False,
    )  # fmt: skip
    data.share = share
    if share.world == 1:
        trainer.test(module, datamodule=data, verbose=False)
    else:
        evaluate_together(trainer, module, data, folder, loggers)


def evaluate_together(
    trainer: L.Trainer, module: ReconstructionModule, data: ImageDataModule, folder: Path, loggers: list[Logger]
) -> None:
    """Evaluate the share of this process, wait for the others; the first puts together what all have found."""
    images, part = data.images["test"].names, Part(0, {})
    try:
        if mine := len(data.share.numbers(len(images))):
            trainer.test(module, datamodule=data, verbose=False)
            part = Part(mine, {k: float(v) for k, v in trainer.callback_metrics.items()})
    except Exception as error:  # told to the first process, which fails with it
        log.exception("the evaluation failed in process %d", data.share.rank)
        part = Part(0, {}, f"{type(error).__name__}: {error}", isinstance(error, CertificateViolation))
    parts = meet(data.share, part)
    if data.share.rank == 0:
        merge_rows(folder, data.share.world, [(s.ratio, s.sigma_b) for s in module.settings], images)
        raise_errors(parts)
        for logger in loggers:
            logger.log_metrics(pooled(parts), step=trainer.global_step)
            logger.save()
