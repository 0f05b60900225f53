"""Attacks on the reconstruction error."""

from invsmooth.attacks.apgd import APGD, apgd
from invsmooth.attacks.attack import AttackResult, attack
from invsmooth.attacks.noise import Noise, noise
from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.pgd import PGD, pgd
from invsmooth.attacks.quantile_error import QuantileError
from invsmooth.attacks.search import Ascent, Found, Search
from invsmooth.attacks.targets import Target

__all__ = [
    "APGD", "PGD", "Ascent", "AttackResult", "Found", "Noise", "Objective", "QuantileError", "ReconstructionError",
    "Search", "SmoothedError", "Target", "apgd", "attack", "noise", "pgd",
]  # fmt: skip
