"""The functions that values of ``conf/`` call: ``${by_scale:20,6}``."""

from __future__ import annotations

from omegaconf import OmegaConf

from invsmooth.config.job_folder import job_label, token
from invsmooth.config.scale import by_algo, by_scale
from invsmooth.core.devices import accelerator, gpu_count
from invsmooth.records.checkpoints import root


def register() -> None:
    # What has norm a on an image of side m has norm a · p / m, in the mean, on a patch of side p.
    OmegaConf.register_new_resolver("on_patch", lambda a, m, p: None if a is None else float(a) * p / m, replace=True)
    # Cached like Hydra's now: one value for a whole sweep, which its jobs take with them to other processes.
    OmegaConf.register_new_resolver("token", token, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("job_label", job_label, replace=True)
    OmegaConf.register_new_resolver("root", root, replace=True)
    OmegaConf.register_new_resolver("gpu_count", gpu_count, replace=True)
    OmegaConf.register_new_resolver("accelerator", accelerator, replace=True)
    OmegaConf.register_new_resolver("by_scale", by_scale, replace=True)
    OmegaConf.register_new_resolver("by_algo", by_algo, replace=True)
