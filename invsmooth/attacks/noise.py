"""Random noise of the attack's norm: the control that tells what of an attack's damage is its direction."""

from __future__ import annotations

import torch
from torch import Tensor

from invsmooth.attacks.ball import on_sphere
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.starts import (
    KEEPS,
    Found,
    ImageKeys,
    better_of,
    check_choice,
    check_search,
    checked,
    keys_of,
)
from invsmooth.attacks.targets import BASE, AttackResult, Target, on_target
from invsmooth.estimators.frozen import Estimator
from invsmooth.operators.base import Operator


def noise(
    estimator: Estimator,
    operator: Operator,
    x: Tensor,
    b: Tensor | None = None,
    *,
    eps: float,
    n_iter: int,
    keep: str = "best",
    target: Target = BASE,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
) -> AttackResult:
    """The loss under ``n_iter`` perturbations drawn uniformly from the sphere of radius eps. No gradients are taken.

    The mean over the perturbations is that of ``losses`` in the result, shape (B, n_iter).

    Args:
        estimator, operator, x, b, eps, target, seed, image_keys: as for :func:`invsmooth.attacks.pgd`.
        n_iter: perturbations tried.
        keep: return the ``"best"``, with the largest loss, or the ``"last"``, a typical one.
    Raises:
        ValueError: a value outside its range.
        NotFiniteError: the loss of an image is not finite.
    """
    check_search(eps, n_iter)
    check_choice("keep", keep, KEEPS)

    @torch.no_grad()
    def search(objective: Objective, like: Tensor) -> Found:
        keys = keys_of(like, image_keys)
        best_xi, best_loss, losses = like, None, []
        # At eps = 0 they would all be the same.
        for number in range(n_iter if eps > 0 else 1):
            xi = on_sphere(like, eps, seed, keys, number)
            losses.append(objective.value(xi))
            best_xi, best_loss = better_of(xi, losses[-1], best_xi, best_loss if keep == "best" else None)
        assert best_loss is not None
        return Found(best_xi, checked(best_loss), torch.stack(losses, 1))

    return on_target(search, target, estimator, operator, x, b, seed, image_keys)
