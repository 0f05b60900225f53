"""Our attacks, with the parameters of their config options; some others; one that is nobody's."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from invsmooth.attacks import APGD, PGD, Found, Noise, Objective
from invsmooth.config import parts
from invsmooth.config.schema import OPEN
from tests.attacks.conformance import AttackConformance

for option in parts.packaged("attack"):
    part = parts.build("attack", parts.options("attack")[option], OPEN["attack"].keys)
    own = {"part": part, "keeps_best": getattr(part, "keep", "best") == "best"}
    globals()[f"Test_{option}"] = type(f"Test_{option}", (AttackConformance,), own)


class TestStarts(AttackConformance):
    part = PGD(n_iter=3, init="sphere", restarts=3)


class TestLiteral(AttackConformance):
    part, keeps_best = PGD(n_iter=3, step_size=0.1, normalize=False, keep="last"), False


class TestMomentum(AttackConformance):
    part = APGD(n_iter=7, init="sphere", restarts=2, step_size=0.3)


class TestLastNoise(AttackConformance):
    part, keeps_best = Noise(n_iter=3, keep="last"), False


class Signs:
    """An attack of somebody else's: one step along the signs of the gradient."""

    name: ClassVar[str] = "signs"

    def __init__(self, size: float = 1.0) -> None:
        self.size = size

    def search(self, objective: Objective, like: Tensor, *, eps: float, seed: int = 0, image_keys: Any = None) -> Found:
        zero = torch.zeros_like(like)
        if eps == 0:
            with torch.no_grad():
                loss = objective.value(zero)
            return Found(zero, loss, loss[:, None])
        clean, gradient = objective.value_and_gradient(zero)
        xi = self.size * eps * gradient.sign() / gradient[0].numel() ** 0.5
        with torch.no_grad():
            loss = objective.value(xi)
        better = loss > clean
        best = torch.maximum(clean, loss)
        return Found(torch.where(better.view(-1, 1, 1, 1), xi, zero), best, best[:, None])

    def cost(self, eps: float, passes: tuple[int, int], n_samples: int) -> tuple[int, int]:
        return (passes[0] + n_samples, passes[1]) if eps > 0 else (n_samples, 0)


class TestSigns(AttackConformance):
    part = Signs()
