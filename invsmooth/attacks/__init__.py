"""Attacks on the reconstruction error."""

from invsmooth.attacks.apgd import apgd
from invsmooth.attacks.noise import noise
from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.pgd import Search, maximise, pgd
from invsmooth.attacks.quantile_error import QuantileError
from invsmooth.attacks.starts import Found
from invsmooth.attacks.targets import TARGETS, AttackResult, Target

ATTACKS = {"pgd": pgd, "apgd": apgd, "noise": noise}

__all__ = [
    "ATTACKS",
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
]
