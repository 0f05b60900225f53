"""Attacks on the reconstruction error."""

from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.pgd import AttackResult, Search, maximise, pgd

__all__ = ["AttackResult", "Objective", "ReconstructionError", "Search", "SmoothedError", "maximise", "pgd"]
