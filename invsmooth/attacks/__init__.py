"""Attacks on the reconstruction error."""

from invsmooth.attacks.pgd import AttackResult, pgd

__all__ = ["AttackResult", "pgd"]
