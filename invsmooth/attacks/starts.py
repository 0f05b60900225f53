"""What all searches share: where they start, the best of several starts, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from invsmooth.attacks.ball import on_sphere, per_image, project
from invsmooth.attacks.objectives import Objective
from invsmooth.core.errors import NotFiniteError

INITS = ("zero", "sphere")
KEEPS = ("best", "last")

ImageKeys = Sequence[str | int]
"""What names each image of a batch in the seeds: what is drawn for it does not depend on where in which batch it stands."""

Ascend = Callable[[Objective, Tensor], tuple[Tensor, Tensor]]
"""``ascend(objective, xi) -> (xi, loss)``: one search from a start, image by image; loss of shape (B,)."""


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        xi: perturbations, shape (B, C, H, W), ||xi|| <= eps per image, [0, 1] pixel scale.
        loss: attacked loss of each image at ``xi``, shape (B,).
        losses: what each start came to, shape (B, starts); for random noise, the loss of each perturbation tried.
    """

    xi: Tensor
    loss: Tensor
    losses: Tensor


def best_of_starts(
    objective: Objective,
    like: Tensor,
    ascend: Ascend,
    *,
    eps: float,
    init: str = "zero",
    restarts: int = 1,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
    start: Tensor | None = None,
) -> Found:
    """Search from every start; each image keeps the best of its searches.

    Args:
        objective: the loss of each image as a function of xi.
        like: gives shape (B, C, H, W), dtype and device of xi.
        ascend: the search from one start.
        eps: radius of the l2 ball; 0 gives zeros without a search.
        init: where the first search starts: ``"zero"``, or uniformly on the ``"sphere"``. The others start on the sphere.
        restarts: searches in all.
        seed: of the random starts.
        image_keys: a name for each image, which seeds its starts; left out, its position in the batch.
        start: where the first search begins instead of ``init``, shape of xi; projected on the ball.
    Raises:
        ValueError: as many keys as images are needed.
        NotFiniteError: the loss of an image is not finite.
    """
    keys = keys_of(like, image_keys)
    if eps == 0:
        with torch.no_grad():
            loss = checked(objective.value(torch.zeros_like(like)))
        return Found(torch.zeros_like(like), loss, loss[:, None])
    best_xi, best_loss, losses = torch.zeros_like(like), None, []
    for number in range(restarts):
        if start is not None and number == 0:
            xi = project(start, eps)
        elif init == "sphere" or number > 0:
            xi = on_sphere(like, eps, seed, keys, number)
        else:
            xi = torch.zeros_like(like)
        xi, loss = ascend(objective, xi)
        best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
        losses.append(loss)
    assert best_loss is not None
    return Found(best_xi, checked(best_loss), torch.stack(losses, 1))


def better_of(xi: Tensor, loss: Tensor, best_xi: Tensor, best_loss: Tensor | None) -> tuple[Tensor, Tensor]:
    """Image by image the perturbation with the larger loss (the newer one on a tie)."""
    if best_loss is None:
        return xi, loss
    newer = is_better(loss, best_loss)
    return torch.where(per_image(newer, xi), xi, best_xi), torch.where(newer, loss, best_loss)


def is_better(loss: Tensor, best_loss: Tensor) -> Tensor:
    """Where a loss replaces the best so far. One that is not a number does and stays, so that it is seen at the end."""
    return ~(loss < best_loss) & ~best_loss.isnan()


def checked(loss: Tensor) -> Tensor:
    """``loss`` itself, once every image's is finite."""
    bad = (~loss.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise NotFiniteError(f"the attacked loss is not finite for the images at positions {bad} of the batch")
    return loss


def keys_of(like: Tensor, image_keys: ImageKeys | None) -> ImageKeys:
    """The keys given, or the positions in the batch."""
    if image_keys is None:
        return range(len(like))
    if len(image_keys) != len(like):
        raise ValueError(f"{len(image_keys)} image_keys for {len(like)} images")
    return image_keys


def check_search(eps: float, n_iter: int, restarts: int = 1, step_size: float | None = None) -> None:
    """Raises ValueError: a number that no search can have."""
    if not (eps >= 0 and math.isfinite(eps)):
        raise ValueError(f"eps={eps} has to be a finite number >= 0")
    if n_iter < 1 or restarts < 1:
        raise ValueError(f"n_iter={n_iter} and restarts={restarts} have to be at least 1")
    if step_size is not None and not step_size > 0:
        raise ValueError(f"step_size={step_size} has to be > 0")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is none of {', '.join(allowed)}")
