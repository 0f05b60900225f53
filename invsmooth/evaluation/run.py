"""Attack and certify a network on the test images: Lightning's test loop with the two sweeps as callbacks."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig

from invsmooth.cache import Store
from invsmooth.core.devices import devices_of_job
from invsmooth.core.errors import CertificateViolation
from invsmooth.core.shards import ALL, Shard
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.evaluation.attack_sweep import AttackSweep
from invsmooth.evaluation.certify_sweep import CertifySweep
from invsmooth.evaluation.distributed import Part, meet, merge_rows, pooled, raise_errors
from invsmooth.evaluation.result_cache import CachedResult, ResultCache
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.evaluation.truth_check import TruthChecker
from invsmooth.operators.measurement import Measured
from invsmooth.pipeline.build import build_attack, build_files, build_plan, build_result_cache
from invsmooth.training import ReconstructionModule

log = logging.getLogger(__name__)


def announce(plan: CertifyPlan) -> None:
    """Say before any work which cells have no certificate, why, and what would give one."""
    if impossible := plan.impossible():
        log.warning("some cells have no certificate (smoothed all the same):")
        for line in impossible:
            log.warning("  %s", line)


def evaluate(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, folder: Path, loggers: list[Logger],
    store: Store, share: Shard = ALL,
) -> dict[str, int]:  # fmt: skip
    """Write ``folder/results.parquet``. Where several processes run this, each on its device, every image counts once.

    Returns: how many attacks, draws and images with all their cells were computed and how many recalled.
    """
    plan, attack = build_plan(cfg, data.n_tested), build_attack(cfg)
    recall, run_id = build_result_cache(cfg, module.estimator, data, store, module.settings)
    columns = recall.columns | {"run_id": run_id}
    check = TruthChecker(
        folder, cfg.attack.check_samples, plan.quantile, plan.seed, plan.chunk_size, plan.radius_checked_of
    )
    files = build_files(cfg, module.estimator, plan, folder) if cfg.certify.files else None
    callbacks: list[L.Callback] = [
        AttackSweep(attack, recall.of),
        CertifySweep(plan, columns, folder, cfg.certify.pictures, check, files, recall, share),
    ]
    if cfg.trainer.progress_bar:
        callbacks.append(RichProgressBar())
    trainer = L.Trainer(
        accelerator=cfg.trainer.accelerator, devices=share.devices or devices_of_job(cfg.trainer, one=True),
        logger=loggers if share.rank == 0 else False, callbacks=callbacks, default_root_dir=folder,
        enable_progress_bar=cfg.trainer.progress_bar, enable_model_summary=False, inference_mode=False,
    )  # fmt: skip
    data.share = share
    module.recall = partial(begin, recall, share, folder)
    try:
        if share.world == 1:
            trainer.test(module, datamodule=data, verbose=False)
            return dict(recall.results.counts)
        return evaluate_together(trainer, module, data, folder, recall)
    finally:
        recall.end()


def begin(recall: ResultCache, share: Shard, folder: Path, measured: Measured, batch_idx: int) -> CachedResult | None:
    """The cells of a batch, if they were computed before."""
    return recall.begin(measured, share.number(batch_idx), folder)


def evaluate_together(
    trainer: L.Trainer, module: ReconstructionModule, data: ImageDataModule, folder: Path, recall: ResultCache
) -> dict[str, int]:
    """Evaluate the share of this process, wait for the others; the first puts together what all have found."""
    images, part = data.images["test"].names, Part()
    try:
        if len(data.share.numbers(len(images))):
            trainer.test(module, datamodule=data, verbose=False)
        part = Part(dict(recall.results.counts))
    except Exception as error:  # told to the first process, which fails with it
        log.exception("the evaluation failed in process %d", data.share.rank)
        part = Part({}, f"{type(error).__name__}: {error}", isinstance(error, CertificateViolation))
    finally:
        recall.end()  # before it waits: another process may want what this one failed at
    parts = meet(data.share, part)
    if data.share.rank == 0:
        merge_rows(folder, data.share.world, [(s.ratio, s.sigma_b) for s in module.settings], images)
        raise_errors(parts)
    return pooled(parts)
