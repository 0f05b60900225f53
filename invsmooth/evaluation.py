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

log = logging.getLogger(__name__)


def announce(plan: CertifyPlan) -> None:
    """Say before any work which cells have no certificate, why, and what would give one."""
    if impossible := plan.impossible():
        log.warning("some cells have no certificate (smoothed all the same):")
        for line in impossible:
            log.warning("  %s", line)


def evaluate(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path, loggers: list[Logger]
) -> None:
    """Write ``folder/results.parquet``. Runs on one device, so that every image counts once."""
    plan, attack = build_plan(cfg, data.n_tested), build_attack(cfg)
    check = SandwichCheck(folder, cfg.attack.check_samples, plan.quantile, plan.seed, plan.chunk_size)
    columns = {
        "run_id": f"{folder.parent.name}/{folder.name}", "algo": cfg.algo.name, "task": cfg.task.name,
        "dataset": data.name, "operator": cfg.operator.name, "attack": attack.name, "attack_target": attack.target.kind,
    }  # fmt: skip
    files = build_files(cfg, module.estimator, plan, folder) if cfg.certify.files else None
    callbacks: list[L.Callback] = [
        AttackSweep(attack),
        CertifySweep(plan, columns, folder, cfg.certify.pictures, check, files),
    ]
    if cfg.trainer.progress_bar:
        callbacks.append(RichProgressBar())
    trainer = L.Trainer(
        accelerator=cfg.trainer.accelerator, devices=1, logger=loggers, callbacks=callbacks, default_root_dir=folder,
        enable_progress_bar=cfg.trainer.progress_bar, enable_model_summary=False, inference_mode=False,
    )  # fmt: skip
    trainer.test(module, datamodule=data, verbose=False)
