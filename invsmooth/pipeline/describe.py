"""What checkpoints and certificate files say of the parts of a run, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from invsmooth.config import parts
from invsmooth.config.schema import OPEN
from invsmooth.operators import LinearOperator
from invsmooth.records.certificate_files.record import operator_sha256
from invsmooth.records.origin import GROUPS


def describe(cfg: DictConfig, trained: Mapping[float, LinearOperator]) -> dict[str, Any]:
    """For the checkpoint: what rebuilds the estimator, and what an evaluation takes over (:mod:`invsmooth.records.origin`).

    Args:
        trained: the operators that are trained on, by ratio.
    """
    choices = dict(HydraConfig.get().runtime.choices) if HydraConfig.initialized() else {}
    operator = OmegaConf.to_container(cfg.operator, resolve=True)
    assert isinstance(operator, dict)
    hashes = {repr(ratio): operator_sha256(op) for ratio, op in trained.items()}
    return {
        "estimator": describe_estimator(cfg),
        "operator": operator | describe_operator(cfg.operator) | {"sha256": hashes},
        "choices": {k: choices.get(k) for k in GROUPS},
        "names": {k: cfg[k].name for k in GROUPS},
        "seed": cfg.seed,
    }


def describe_estimator(cfg: DictConfig) -> dict[str, Any]:
    """Class and parameters of the estimator."""
    return {"_target_": cfg.estimator._target_, **parts.free_parameters(cfg.estimator, ())}


def describe_operator(cfg: DictConfig) -> dict[str, Any]:
    """Name, class and parameters of the operator, without its ratio. Paths are absolute: the program may run elsewhere next
    time."""
    free = parts.free_parameters(cfg, OPEN["operator"].keys)
    return {"name": cfg.name, "_target_": cfg._target_, **{k: absolute(v) for k, v in free.items()}}


def absolute(value: Any) -> Any:
    """The absolute path of an existing file; other values as they are."""
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).is_file() else value
