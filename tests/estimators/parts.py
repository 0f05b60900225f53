"""Estimators of several parts, as a user would write them."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from invsmooth.operators import LinearOperator

system = os.system
"""Found here, but not defined here."""


class Wrapped(nn.Module):
    """A^T y through ``body``. ``name`` is kept as it comes."""

    def __init__(self, body: nn.Module, name: str = "") -> None:
        super().__init__()
        self.body, self.name = body, name

    def forward(self, y: Tensor, operator: LinearOperator) -> Tensor:
        return self.body(operator.A_adjoint(y))


class Numbers(nn.Module):
    """Cannot be made without numbers."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(int(torch.full((), n))))


class Drifting(nn.Module):
    """One weight more each time that it is made."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Drifting.made += 1
        self.weight = nn.Parameter(torch.zeros(Drifting.made))


class Counting(nn.Module):
    """Keeps more than weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def get_extra_state(self) -> dict[str, int]:
        return {"count": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def small() -> nn.Module:
    """A factory."""
    return Wrapped(nn.Conv2d(1, 1, 3, padding=1))


def no_module() -> str:
    return "text"
