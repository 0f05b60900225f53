"""Attacks on the reconstruction error."""

import inspect
from collections.abc import Callable

from invsmooth.attacks.apgd import apgd
from invsmooth.attacks.noise import noise
from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.pgd import Search, maximise, pgd
from invsmooth.attacks.quantile_error import QuantileError
from invsmooth.attacks.starts import Found
from invsmooth.attacks.targets import TARGETS, AttackResult, Target

ATTACKS: dict[str, Callable[..., AttackResult]] = {"pgd": pgd, "apgd": apgd, "noise": noise}
SETTINGS = ("n_iter", "step_size", "schedule", "normalize", "init", "keep", "restarts")


def settings_of(attack: str) -> list[str]:
    """The settings of the search that an attack takes; it has no use for the others."""
    return [name for name in SETTINGS if name in inspect.signature(ATTACKS[attack]).parameters]


__all__ = [
    "ATTACKS",
    "SETTINGS",
    "TARGETS",
    "AttackResult",
    "Found",
    "Objective",
    "QuantileError",
    "ReconstructionError",
    "Search",
    "SmoothedError",
    "Target",
    "apgd",
    "maximise",
    "noise",
    "pgd",
    "settings_of",
]
