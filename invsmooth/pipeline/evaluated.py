"""Whether a network is evaluated with the operator that it was trained with, and what the run says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from invsmooth.core.errors import ConfigError
from invsmooth.estimators import DPDNN, ISTANetPP
from invsmooth.operators import Identity
from invsmooth.operators.measurement import Setting
from invsmooth.records.certificate_files.record import operator_sha256
from invsmooth.records.origin import Origin

PUBLISHED: dict[type[nn.Module], Sequence[str]] = {
    ISTANetPP: ("n_phases", "channels"),
    DPDNN: ("n_steps", "channels", "levels", "share_down"),
}
"""Networks whose published weights are read, and their sizes."""


def check_operators(origin: Origin, settings: Sequence[Setting]) -> None:
    """Whether a network is evaluated with what it was trained with: the same kind of operator, and at each ratio that it
    was trained on the same matrix.

    Raises: ConfigError: it is not, or an older checkpoint does not say which matrix it was.
    """
    trained, ckpt = origin.operator, f"ckpt={origin.path}"
    for setting in settings:
        operator, ratio = setting.operator, float(setting.ratio)
        name = "identity" if isinstance(operator, Identity) else "block_gaussian"
        if name != trained["name"]:
            raise ConfigError(
                f"{ckpt} was trained with operator.name={trained['name']} (task={origin.choices['task']}) and cannot be "
                f"evaluated with operator.name={name}; leave task= and operator= away, or give those of the training"
            )
        if not origin.sha256 and name != "identity":
            raise ConfigError(
                f"{ckpt} comes from an older invsmooth and does not say which measurement matrix it was trained with, so "
                "that another could be taken for it; train again (ckpt= of invsmooth.train starts from its weights)"
            )
        recorded, found = origin.sha256.get(ratio), operator_sha256(operator)
        if recorded not in (None, found):
            how = ", ".join(f"operator.{k}={trained[k]}" for k in ("matrix", "seed", "block"))
            raise ConfigError(
                f"{ckpt} was trained with another measurement matrix at ratio {ratio:g} than the one it is to be evaluated "
                f"with: SHA-256 {recorded}, not {found}. It was trained with {how}; leave these away, or give "
                "operator.matrix=PATH, a copy of its matrix. If you gave none of them, the file has changed, or this "
                "version makes other matrices from a seed: evaluate with the version that trained, or train again"
            )


def evaluated_estimator(cfg: DictConfig, estimator: nn.Module, origin: Origin | None) -> dict[str, Any]:
    """Class and parameters of the network that is evaluated, as plain values."""
    if origin is not None:
        return dict(origin.estimator)
    if (sizes := PUBLISHED.get(type(estimator))) is not None:
        return {"_target_": f"invsmooth.estimators.{type(estimator).__name__}"} | {
            k: getattr(estimator, k) for k in sizes
        }
    described = OmegaConf.to_container(cfg.estimator, resolve=True)
    assert isinstance(described, dict)
    return {str(k): v for k, v in described.items()}
