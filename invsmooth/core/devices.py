"""The device that a run takes if there are several, and how a GPU multiplies."""

from __future__ import annotations

import warnings
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

NO_DISTRIBUTED_JOBS = (
    "several devices for each job do not go together with --multirun: each further process would run the command, and "
    "the whole sweep with it, again. Either trainer.devices=1 (each job its own GPU), or trainer.strategy=ddp_spawn, or no "
    "--multirun: one command for each job"
)


def starts_processes(strategy: str, devices: Any) -> bool:
    """Whether Lightning runs the command again for each further device."""
    return devices not in (1, "1") and not strategy.endswith(("_spawn", "_fork", "_notebook"))


def gpu_count(most: int | None = None) -> int:
    """The number of GPUs that torch sees here, at most ``most``."""
    import torch

    count = torch.cuda.device_count()
    return count if most is None else min(count, most)


def accelerator() -> str:
    """What torch computes on here."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def resolved(name: str) -> str:
    """The accelerator of that name, which may be auto."""
    return accelerator() if name == "auto" else name


def gpu_of_job(job: int, count: int) -> list[int]:
    """The GPU of a job of a sweep, as Lightning takes it: job k takes GPU k modulo ``count``."""
    return [job % count]


def devices_of_job(accelerator: str, devices: Any, *, one: bool = False) -> Any:
    """``devices`` for Lightning's Trainer: the config's value, or 1 if ``one``. A job of a sweep
    with ``devices=1`` gets its own GPU. (A cluster shows each job only its own.)"""
    if devices != 1 or accelerator not in ("gpu", "auto") or not in_sweep():
        return 1 if one else devices
    count = gpu_count()
    return gpu_of_job(int(HydraConfig.get().job.num), count) if count > 1 else 1


def in_sweep() -> bool:
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def set_tf32(allowed: bool) -> None:
    """Whether GPUs round the factors of float32 products to 10 bits (TF32), in matrix products and convolutions alike.
    Torch's own default is yes for convolutions, no for matrix products.

    A certificate is about the network as it computes, so TF32 would not make one wrong. But a run without it gives the
    numbers of a CPU to about 1e-5, one with it to about 1e-3, and A has to be linear to the same accuracy: it is off unless
    it is asked for."""
    import torch

    with warnings.catch_warnings():
        # Since torch 2.9 there are new names for both; only the old ones set both and exist in all versions.
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision("high" if allowed else "highest")


def tf32() -> bool:
    """Whether matrix products or convolutions may round as TF32 does."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.backends.cudnn.allow_tf32 or torch.get_float32_matmul_precision() != "highest"
