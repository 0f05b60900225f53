"""What certificate files say of the estimator and operator of a run, as plain values."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from invsmooth.cache.parts import is_ours
from invsmooth.config import parts
from invsmooth.config.schema import OPEN
from invsmooth.records.origin import with_absolute_paths


def describe_estimator(cfg: DictConfig) -> dict[str, Any]:
    """Class and parameters of the estimator."""
    return {"_target_": cfg.estimator._target_, **parts.free_parameters(cfg.estimator, ())}


def describe_operator(cfg: DictConfig) -> dict[str, Any]:
    """The operator without its ratio: class and parameters, or, of ours, the fields of a
    certificate file."""
    kind = parts.load_class(cfg._target_, "operator")
    given = with_absolute_paths(parts.without_unset(kind, parts.free_parameters(cfg, OPEN["operator"].keys)))
    if is_ours(kind):
        return {"name": cfg.name, "block": 33, "seed": 0, "matrix": None} | given
    return {"_target_": cfg._target_, "parameters": given}
