"""Random noise: the control that separates the effect of an attack's direction from its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from invsmooth.attacks.attack import AttackResult, attack
from invsmooth.attacks.ball import on_sphere
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.search import Found, Keep, better_of, checked
from invsmooth.attacks.targets import BASE, Target
from invsmooth.core.parameters import Count, check_fields
from invsmooth.core.rng import ImageKeys, keys_of
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Perturbations drawn uniformly from the sphere of radius eps. It takes no gradient.

    Raises: ValueError: a parameter outside its range."""

    name: ClassVar[str] = "noise"
    n_iter: Count  # perturbations tried
    keep: Keep = "best"  # the one with the largest loss; "last": a typical one

    def __post_init__(self) -> None:
        check_fields(self)

    @torch.no_grad()
    def search(
        self, objective: Objective, like: Tensor, *, eps: float, seed: int = 0, image_keys: ImageKeys | None = None
    ) -> Found:
        keys = keys_of(len(like), image_keys)
        best_xi, best_loss, losses = like, None, []
        # At eps = 0 all perturbations are the same.
        for number in range(self.n_iter if eps > 0 else 1):
            xi = on_sphere(like, eps, seed, keys, number)
            losses.append(objective.value(xi))
            best_xi, best_loss = better_of(xi, losses[-1], best_xi, best_loss if self.keep == "best" else None)
        assert best_loss is not None
        return Found(best_xi, checked(best_loss), torch.stack(losses, 1))

    def cost(self, eps: float, passes: tuple[int, int], n_samples: int) -> tuple[int, int]:
        return (self.n_iter if eps > 0 else 1) * n_samples, 0


def noise(
    estimator: Estimator, operator: Operator, x: Tensor, b: Tensor | None = None, *, eps: float, n_iter: int,
    keep: Keep = "best", target: Target = BASE, seed: int = 0, image_keys: ImageKeys | None = None,
) -> AttackResult:  # fmt: skip
    """:func:`invsmooth.attacks.attack` with :class:`Noise`, which documents the other arguments."""
    search = Noise(n_iter=n_iter, keep=keep)
    return attack(search, estimator, operator, x, b, eps=eps, target=target, seed=seed, image_keys=image_keys)
