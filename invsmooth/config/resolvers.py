"""The functions that values of ``conf/`` call: ``${by_scale:20,6}``."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from invsmooth.config.job_folder import job_label, token
from invsmooth.config.scale import by_algo, by_scale, by_task
from invsmooth.core.checkpoints import root
from invsmooth.core.devices import accelerator, gpu_count
from invsmooth.core.errors import ConfigError


def on_patch(a: Any, m: Any, p: Any) -> float | None:
    """What has norm a on an image of side m has norm a · p / m, in the mean, on a patch of side p.
    Raises: ConfigError: no numbers."""
    if a is None:
        return None
    if not all(isinstance(v, int | float) for v in (a, m, p)) or not m:
        raise ConfigError(f"on_patch of {a}, {m} and {p}: give three numbers, the second not 0")
    return float(a) * p / m


def register() -> None:
    OmegaConf.register_new_resolver("on_patch", on_patch, replace=True)
    # Cached like Hydra's now: one value for a whole sweep, which its jobs take with them to other processes.
    OmegaConf.register_new_resolver("token", token, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("job_label", job_label, replace=True)
    OmegaConf.register_new_resolver("root", root, replace=True)
    OmegaConf.register_new_resolver("gpu_count", gpu_count, replace=True)
    OmegaConf.register_new_resolver("accelerator", accelerator, replace=True)
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
    OmegaConf.register_new_resolver("by_algo", by_algo, replace=True)
    OmegaConf.register_new_resolver("by_task", by_task, replace=True)
