"""Where the floor of the PSNR of a run comes from: calibration images of its own, or those saved with the network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import nn

from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import state_sha256
from invsmooth.evaluation.calibration import (
    Calibration,
    Floors,
    floors_of,
    measured_groups,
    read_calibration,
    save_with,
)
from invsmooth.evaluation.result_cache import ResultCache
from invsmooth.operators.measurement import Setting
from invsmooth.training.kept_trainings import BEST, LAST

log = logging.getLogger(__name__)


def calibrate(
    estimator: nn.Module, settings: Sequence[Setting], data: ImageDataModule, cache: ResultCache, device: torch.device
) -> Calibration | None:
    """On the images that ``data.calibration`` keeps from the test; None if it keeps none."""
    if "calibration" not in data.images:
        return None
    loader, images = data.whole_images("calibration"), data.images["calibration"]
    groups = measured_groups(estimator, settings, loader, device, cache.of)
    return Calibration(str(data.name), tuple(images.sha256), state_sha256(estimator), groups)


def save(calibration: Calibration, folder: Path, ckpt: str | None) -> None:
    """Into the network that the run has trained, or a copy of the one that it evaluates, in the run's folder."""
    trained = next((p for n in (BEST, LAST) if (p := folder / "checkpoints" / n).is_file()), None)
    if trained is not None:
        save_with(calibration, trained, trained)
    elif ckpt is not None and save_with(calibration, Path(ckpt), target := folder / "checkpoints" / BEST):
        log.info("a copy of the network with its calibration: %s", target)


def saved(ckpt: str, estimator: nn.Module, data: ImageDataModule) -> Calibration | None:
    """That in the checkpoint that is evaluated, if it holds for its weights and for images as those of the test."""
    found = read_calibration(Path(ckpt))
    if found is None:
        return None
    if found.estimator_sha256 != state_sha256(estimator):
        log.warning("ckpt=%s was calibrated with other weights: its calibration is not used", ckpt)
        return None
    if found.dataset != data.name:
        told = "no floor without the clean image: the network was calibrated on images of %s, and these are of %s"
        log.info(told, found.dataset, data.name)
        return None
    return found


def floors(
    cfg: DictConfig, estimator: nn.Module, settings: Sequence[Setting], data: ImageDataModule, cache: ResultCache,
    device: torch.device, folder: Path | None, trains: bool,
) -> Floors | None:  # fmt: skip
    """``folder``: of the run, where its own calibration is saved; None: another process saves it.
    None: nothing calibrates. Raises: CheckpointError: the calibration in ``ckpt`` was changed."""
    found = calibrate(estimator, settings, data, cache, device)
    if found is not None and folder is not None:
        save(found, folder, None if trains else cfg.ckpt)
    elif found is None and not trains and cfg.ckpt is not None:
        found = saved(cfg.ckpt, estimator, data)
    if found is None:
        return None
    images = data.images["test"]
    return floors_of(found, settings, cfg.certify.floor_confidence, dict(zip(images.names, images.sha256, strict=True)))
