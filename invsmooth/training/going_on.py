"""Whether a training can go on from a checkpoint (``resume=``), found out before the run begins."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.version import Version
from torch import Tensor
from yaml import YAMLError

from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.core.trust import refused
from invsmooth.data.datamodule import PatchSettings
from invsmooth.estimators.checkpoint import read
from invsmooth.records.origin import read_origin
from invsmooth.training.backbone import ReconstructionModule
from invsmooth.training.fit import KeepBest, TrainerSettings

log = logging.getLogger(__name__)


def check_same_training(resume: str, config: Mapping[str, Any]) -> None:
    """``config``: as plain values. Raises: ConfigError: ``resume`` is of a training with another algorithm, scale, seed,
    training noise or ratio, of which the records of this run would be wrong. Warns of other batches or patches, which only a
    run folder shows: on another number of devices they may be meant."""
    origin = read_origin(resume)
    if origin is None:
        return
    for key, value in patches_of(Path(resume)).items():
        if value != config["task"][key]:
            log.warning("resume=%s began with task.%s=%s and goes on with %s", resume, key, value, config["task"][key])
    operator = config["operator"]
    compared = {
        "algo.name": (origin.names.get("algo"), config["algo"]["name"]),
        "scale": (origin.scale, config["scale"]),
        "seed": (origin.seed, config["seed"]),
        **{f"operator.{k}": (origin.operator.get(k), operator[k]) for k in ("train_sigma_b", "train_ratio")},
    }
    other = {key: pair for key, pair in compared.items() if pair[0] is not None and listed(pair[0]) != listed(pair[1])}
    if other:
        before = " ".join(f"{key}={value}" for key, (value, _) in other.items())
        now = ", ".join(str(value) for _, value in other.values())
        raise ConfigError(
            f"resume={resume} is of a training with {before}, not {now}: give the values that it began with; "
            "to start from its weights, give ckpt= instead of resume="
        )


def patches_of(resume: Path) -> dict[str, Any]:
    """Batch and patch size of the run folder that a checkpoint is in; {} if it is in none."""
    try:
        task = OmegaConf.load(resume.absolute().parents[1] / "config.yaml").task
        return {k: task[k] for k in ("batch_size", "patch_size") if isinstance(task.get(k), int)}
    except (OSError, ValueError, LookupError, AttributeError, YAMLError, OmegaConfBaseException):
        return {}


def listed(value: Any) -> list[Any]:
    return [*value] if isinstance(value, list | tuple) else [value]


def check_going_on(path: Path, module: ReconstructionModule, patches: PatchSettings, settings: TrainerSettings) -> None:
    """Restore all that Lightning would restore, into objects that are thrown away.

    Raises: CheckpointError: the file is damaged, its state is not that of such a training, or nothing is left to train."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise refused(path, f"is no checkpoint of this version of torch ({error})") from error
    if damaged is not None:
        raise refused(path, f"is damaged: {damaged} does not fit its checksum")
    content = read(path)
    total = math.ceil(patches.n_patches / patches.batch_size) * settings.max_epochs
    if settings.max_steps is not None:
        total = min(total, settings.max_steps) if settings.max_epochs > 0 else settings.max_steps
    try:
        counts = [content[k] for k in ("batches_seen", "epoch", "global_step")]
        if any(isinstance(n, bool) or n < 0 for n in counts):
            raise ValueError(f"batches_seen, epoch and global_step are {counts}")
        Version(content["pytorch-lightning_version"])
        restore_loops(content["loops"])
        restore_optimizers(content, module, total)
        restore_best(content["callbacks"])
        done = content["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    except CheckpointError:
        raise
    except Exception as error:  # Lightning and torch raise a different error for each way a state can be wrong
        why = f"its state is not that of such a training ({type(error).__name__}: {error})"
        raise refused(
            path, f"cannot be gone on from: {why}; to start from its weights use ckpt= in place of resume="
        ) from error
    if content["batches_seen"] >= total or (settings.max_epochs > 0 and done >= settings.max_epochs):
        raise refused(
            path, f"has had {content['batches_seen']} batches, and this training has {total}: nothing is left to train. "
            "Give more (trainer.max_epochs, task.epochs, trainer.max_steps), or evaluate it: invsmooth.evaluate ckpt="
        )  # fmt: skip


def restore_loops(saved: Mapping[str, Any]) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if missing := trainer.fit_loop.state_dict().keys() - saved["fit_loop"].keys():
        raise ValueError(f"loops.fit_loop lacks {', '.join(sorted(missing))}")
    trainer.fit_loop.load_state_dict(copy.deepcopy(saved["fit_loop"]))


def restore_optimizers(content: Mapping[str, Any], module: ReconstructionModule, total: int) -> None:
    own = module.setup_
    module.setup_ = dataclasses.replace(own, max_batches=own.max_batches or max(1, total))  # else it asks for a trainer
    try:
        made = module.configure_optimizers()
    finally:
        module.setup_ = own
    optimizers, schedulers = made if isinstance(made, tuple) else ([made], [])
    for name, some in (("optimizer_states", optimizers), ("lr_schedulers", schedulers)):
        if len(content[name]) != len(some):
            raise ValueError(f"{name} has {len(content[name])} entries instead of {len(some)}")
    for optimizer, state in zip(optimizers, content["optimizer_states"], strict=True):
        optimizer.load_state_dict(copy.deepcopy(state))
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                    wrong = f"{tuple(value.shape)} of a weight of shape {tuple(parameter.shape)}"
                    raise ValueError(f"optimizer_states has {name} of shape {wrong}")
    for scheduler, state in zip(schedulers, content["lr_schedulers"], strict=True):
        if missing := scheduler.state_dict().keys() - state.keys():
            raise ValueError(f"lr_schedulers lacks {', '.join(sorted(missing))}")
        scheduler.load_state_dict(state)


def restore_best(saved: Mapping[str, Any]) -> None:
    found = [state for name, state in saved.items() if str(name).startswith(KeepBest.__name__)]
    if len(found) != 1:
        raise ValueError("callbacks has no best validation")
    best = KeepBest(str(found[0]["dirpath"]), filename="best", monitor="val/psnr", mode="max")
    best.load_state_dict(copy.deepcopy(found[0]))
