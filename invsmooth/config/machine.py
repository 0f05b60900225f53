"""What this machine has, against what a config asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from invsmooth.config import parts
from invsmooth.core.devices import NO_DISTRIBUTED_JOBS, in_sweep, resolved, starts_processes
from invsmooth.core.errors import ConfigError
from invsmooth.core.files import try_to_write

LOGGERS = {"wandb": "wandb", "tensorboard": "tensorboard", "mlflow": "mlflow"}
"""Logger -> package that it needs."""


def check_machine(cfg: DictConfig) -> None:
    """Raises: ConfigError: with a line for each thing that this machine does not have."""
    found = [*devices_conflicts(cfg.trainer), *memory_conflicts(cfg)]
    if (cache := cfg.get("cache")) is not None:
        found += folder_conflicts(Path(cache))
    if (name := cfg.get("logger", {}).get("name")) in LOGGERS and find_spec(LOGGERS[name]) is None:
        found.append(f"logger={name} needs a package that is not installed: pip install -e '.[{name}]'")
    if found:
        raise ConfigError("\n".join(found))


def trainer_conflicts(cfg: DictConfig) -> Iterator[str]:
    import torch

    trainer = cfg.trainer
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        yield "trainer.accelerator=gpu: torch sees no GPU on this machine; use trainer=cpu"
    if in_sweep() and starts_processes(trainer.strategy, trainer.devices):
        yield NO_DISTRIBUTED_JOBS
    try:
        why = trainer.compile and getattr(parts.load_class(cfg.algo.get("_target_"), "algo"), "why_not_compiled", "")
    except ConfigError:
        return
    if why:
        yield f"trainer.compile=true is not allowed with algo={cfg.algo.name}: {why}"


def devices_conflicts(trainer: DictConfig) -> Iterator[str]:
    import torch

    devices = parts.plain_value(trainer, "devices")
    if resolved(trainer.accelerator) == "cpu":
        if trainer.precision in ("16-mixed", "16"):
            yield f"trainer.precision={trainer.precision} needs a GPU; on a CPU: bf16-mixed, or 32-true"
        if devices != "auto" and not (isinstance(devices, int | str) and str(devices).isdigit()):
            yield f"trainer.devices={devices} is not allowed on a CPU; allowed: how many processes, a whole number >= 1"
        return
    if not (count := torch.cuda.device_count()):  # said before
        return
    asked = devices if isinstance(devices, list) else [int(devices) - 1] if str(devices).isdigit() else []
    if any(number >= count for number in asked):
        yield f"trainer.devices={devices}: torch sees {count} GPUs on this machine, numbered from 0"


def memory_conflicts(cfg: DictConfig) -> Iterator[str]:
    """One batch of patches has to fit into memory."""
    task, channels = cfg.task, cfg.data.get("channels")
    sizes = (task.batch_size, task.patch_size, channels)
    have, need = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), 4 * sizes[0] * sizes[1] ** 2 * sizes[2]
    if need > have:
        asked = f"task.batch_size={sizes[0]} patches of task.patch_size={sizes[1]}"
        yield f"{asked} take {need / 1e9:.3g} GB, and this machine has {have / 1e9:.3g} GB; give smaller ones"


def folder_conflicts(folder: Path) -> Iterator[str]:
    """The cache, and the folders of its kinds of results where they are there: another user may have made them."""
    for one in (folder, *(sorted(p for p in folder.glob("*") if p.is_dir()))):
        try:
            try_to_write(one)
        except OSError as error:
            within = "" if one == folder else f" ({one})"
            yield f"cache={folder} cannot be written: {error.strerror}{within}; give another folder, or cache=null"
            return
