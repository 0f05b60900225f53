"""Attacks on the reconstruction error."""

from invsmooth.attacks.objectives import Objective, ReconstructionError, SmoothedError
from invsmooth.attacks.pgd import AttackResult, maximise, pgd

__all__ = ["AttackResult", "Objective", "ReconstructionError", "SmoothedError", "maximise", "pgd"]
