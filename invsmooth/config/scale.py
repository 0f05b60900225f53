"""The scale of a run: the paper's sizes, or small ones for two CPU cores.

In ``conf/`` both stand side by side, ``n_phases: ${by_scale:20,6}``, resolved where a value is read. So
a value of the command line, an experiment or a ``_small`` option just takes its place: a config
group for each scale would have to come before or after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from invsmooth.config.job_folder import swept_keys
from invsmooth.core.devices import resolved
from invsmooth.core.errors import ConfigError

AUTO, PAPER, SMALL = "auto", "paper", "small"
CACHE = "by_scale"  # in the root's cache, which Hydra copies from a sweep to its jobs, in whatever process they run
ONE = "one sweep has one scale"


def by_scale(paper: Any, small: Any, *, _root_: DictConfig) -> Any:
    return small if scale_of(_root_) == SMALL else paper


def by_algo(default: Any, others: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """The entry of ``others`` for the algorithm of the run. Raises: ConfigError: ``others`` has no entries."""
    return entry("by_algo", OmegaConf.select(_root_, "algo.name"), default, others)


def by_task(default: Any, others: Mapping[str, Any], *, _root_: DictConfig) -> Any:
    """The same for its task."""
    return entry("by_task", OmegaConf.select(_root_, "task.name"), default, others)


def entry(resolver: str, name: Any, default: Any, others: Mapping[str, Any]) -> Any:
    if not isinstance(others, Mapping):
        raise ConfigError(f"{resolver} of {default} and {others}: give a value, and others by name, {{NAME: VALUE}}")
    return others.get(name, default)


def scale_of(config: DictConfig) -> str | None:
    """The scale of a whole config. With ``auto`` that of its sweep, else small without a GPU. None, which
    has the paper's sizes: it says none, as an evaluation of a checkpoint that does not."""
    given = OmegaConf.select(config, "scale")
    if given != AUTO:
        return None if given is None else str(given)
    if not isinstance(config.trainer, DictConfig):
        raise ConfigError(f"trainer={config.trainer} is not allowed; choose an option, trainer=OPTION: auto, cpu, gpu")
    return of_sweep(config) or (PAPER if uses_gpu(config.trainer.accelerator) else SMALL)


def uses_gpu(accelerator: str) -> bool:
    return resolved(accelerator) == "gpu"


def of_sweep(config: DictConfig) -> str | None:
    """What :func:`begin_sweep` has decided; None outside of a sweep."""
    return OmegaConf.get_cache(config)[CACHE].get(AUTO)


def begin_sweep(config: DictConfig) -> None:
    """Decide the scale once for all jobs, which may run on machines with other hardware. A sweep that is
    started again in its folder keeps its scale, unless the command gives another.
    Raises: ConfigError: the scale itself is swept."""
    if OmegaConf.select(config, "scale") is None:  # an evaluation: each job has that of its checkpoint
        return
    if "scale" in swept_keys(config.hydra):
        raise ConfigError(f"scale cannot be swept: {ONE}; start a sweep for each, scale=paper and scale=small")
    before = kept_in(Path(config.hydra.sweep.dir)) if config.scale == AUTO else None
    config.scale = before or scale_of(config)  # for multirun.yaml; the jobs compose configs of their own
    OmegaConf.get_cache(config)[CACHE][AUTO] = config.scale


def kept_in(sweep: Path) -> str | None:
    """The scale of the sweep that was started in this folder before."""
    path = sweep / "multirun.yaml"
    try:
        found = OmegaConf.select(OmegaConf.load(path), "scale") if path.is_file() else None
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):  # Hydra was killed as it wrote it
        return None
    return found if found in (PAPER, SMALL) else None


def conflicts(config: DictConfig) -> Iterator[str]:
    sweep, own = of_sweep(config), OmegaConf.select(config, "scale")
    if sweep in (PAPER, SMALL) and own in (PAPER, SMALL) and own != sweep:
        yield f"scale={own} in a sweep with scale={sweep}: {ONE}"


def explained(config: DictConfig, scale: str) -> str:
    """What ``scale=auto`` chose, why, and how to choose otherwise."""
    used = f"{'a' if scale == PAPER else 'no'} GPU is used (trainer.accelerator={config.trainer.accelerator})"
    why = "decided when the sweep began" if of_sweep(config) else used
    other = "small sizes of network and training: scale=small" if scale == PAPER else "the paper's sizes: scale=paper"
    return f"scale=auto is {scale} here: {why}; for {other}"
