"""The network of a checkpoint: the operator it was trained with, its description, and one of its own where it has none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from invsmooth.config.schema import OPEN
from invsmooth.core.errors import ConfigError
from invsmooth.core.files import replaced
from invsmooth.core.redact import redact
from invsmooth.estimators.checkpoint import PREFIX
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline.build import choices, describe_estimator, plain
from invsmooth.records.origin import Origin, training_record
from invsmooth.training.kept_trainings import BEST


def check_operators(origin: Origin, settings: Sequence[Setting], name: str) -> None:
    """Check that a network is evaluated with the operator that it was trained with, by its name and
    by its matrix at each ratio.

    Raises: ConfigError: it is not, or an older checkpoint does not say which matrix it was."""
    trained, ckpt = origin.operator, f"ckpt={origin.path}"
    free = {k: v for k, v in trained.items() if k not in ("_target_", *OPEN["operator"].keys)}
    if name != trained["name"]:
        raise ConfigError(
            f"{ckpt} was trained with operator.name={trained['name']} (task={origin.choices['task']}) and cannot be "
            f"evaluated with operator.name={name}; leave task= and operator= away, or give those of the training"
        )
    for setting in settings:
        operator, ratio = setting.operator, float(setting.ratio)
        if not origin.sha256 and next(operator.buffers(), None) is not None:
            raise ConfigError(
                f"{ckpt} comes from an older invsmooth and does not say which measurement matrix it was trained with, "
                "so that another could be taken for it; train again (ckpt= of invsmooth.train starts from its weights)"
            )
        recorded, found = origin.sha256.get(ratio), operator.sha256()
        if recorded not in (None, found):
            how = ", ".join(f"operator.{k}={v}" for k, v in free.items())
            raise ConfigError(
                f"{ckpt} was trained with another measurement matrix at ratio {ratio:g} than the one it is to be "
                f"evaluated with: SHA-256 {recorded}, not {found}. It was trained with {how}; leave these away, or "
                "give operator.matrix=PATH, a copy of its matrix. If you gave none of them, the file has changed, or "
                "this version makes other matrices from a seed: evaluate with the version that trained, or train again"
            )


def evaluated_estimator(cfg: DictConfig, estimator: nn.Module, origin: Origin | None) -> dict[str, Any]:
    """Class and parameters of the network that is evaluated, as plain values."""
    if origin is not None:
        return dict(origin.estimator)
    if cfg.ckpt is not None and (published := getattr(type(estimator), "published_sizes", ())):
        sizes = {k: getattr(estimator, k) for k in published}  # published weights tell them
        return {"_target_": f"invsmooth.estimators.{type(estimator).__name__}"} | sizes
    return describe_estimator(cfg.estimator)


def keep_network(cfg: DictConfig, estimator: nn.Module, settings: Iterable[Setting], folder: Path) -> Path:
    """Write a checkpoint of ours with a network whose weights came from elsewhere: its class, parameters and weights, and
    the problem on which it is evaluated."""
    known, hashes = plain(cfg), {float(s.ratio): s.operator.sha256() for s in settings}
    content = {
        "state_dict": {PREFIX + k: v for k, v in estimator.state_dict().items()},
        "hyper_parameters": redact(training_record(known, choices(), hashes)),
    }
    path = kept_network(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as temporary:
        torch.save(content, temporary)
    return path


def kept_network(folder: Path) -> Path:
    return folder / "checkpoints" / BEST
