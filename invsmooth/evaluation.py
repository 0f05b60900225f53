"""Attack and certify a network on the test images: Lightning's test loop with the two sweeps as callbacks."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from invsmooth.algorithms import ReconstructionModule
from invsmooth.build import build_attack, build_files, build_plan, build_recall
from invsmooth.cache import Store
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
    cfg: DictConfig,
    module: ReconstructionModule,
    data: ImageDataModule,
    folder: Path,
    loggers: list[Logger],
    store: Store,
) -> dict[str, int]:
    """Write ``folder/results.parquet``. Runs on one device, so that every image counts once.

    Returns: how many attacks, draws and images with all their cells were computed and how many recalled.
    """
    plan, attack = build_plan(cfg, data.n_tested), build_attack(cfg)
    recall, run_id = build_recall(cfg, module.estimator, data, store)
    columns = recall.columns | {"run_id": run_id}
    check = SandwichCheck(folder, cfg.attack.check_samples, plan.quantile, plan.seed, plan.chunk_size)
    files = build_files(cfg, module.estimator, plan, folder) if cfg.certify.files else None
    callbacks: list[L.Callback] = [
        AttackSweep(attack, recall.of),
        CertifySweep(plan, columns, folder, cfg.certify.pictures, check, files, recall),
    ]
    if cfg.trainer.progress_bar:
        callbacks.append(RichProgressBar())
    trainer = L.Trainer(
        accelerator=cfg.trainer.accelerator, devices=1, logger=loggers, callbacks=callbacks, default_root_dir=folder,
        enable_progress_bar=cfg.trainer.progress_bar, enable_model_summary=False, inference_mode=False,
    )  # fmt: skip
    module.recall = recall.begin
    try:
        trainer.test(module, datamodule=data, verbose=False)
    finally:
        recall.end()
    return dict(recall.results.counts)
