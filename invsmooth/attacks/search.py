"""The contract of an attack's search, and what gradient searches share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from invsmooth.attacks.ball import on_sphere, per_image, project
from invsmooth.attacks.objectives import Objective
from invsmooth.core.errors import NotFiniteError, PremiseError
from invsmooth.core.parameters import Count, Positive, check_fields
from invsmooth.core.rng import ImageKeys, keys_of

Init = Literal["zero", "sphere"]
Keep = Literal["best", "last"]
BALL_TOLERANCE = 1e-4, 1e-6  # by how much, relative and absolute, rounding may put xi outside of the ball


@dataclass(frozen=True)
class Found:
    """The result of a search."""

    xi: Tensor  # shape (B, C, H, W), ||xi|| <= eps per image, [0, 1] pixel scale
    loss: Tensor  # at xi, shape (B,)
    losses: Tensor  # of each start, shape (B, starts); for random noise, of each perturbation tried


def check_found(found: Any, like: Tensor, eps: float, search: Any) -> Found:
    """Raises: PremiseError: a search of anybody's returned something else, or left the ball."""
    name, n = type(search).__name__, len(like)
    if not isinstance(found, Found):
        raise PremiseError(
            f"attack {name}: search returned a {type(found).__name__}; a Found(xi, loss, losses) is needed"
        )
    for field, shape in (("xi", like.shape), ("loss", (n,)), ("losses", (n, -1))):
        value = getattr(found, field)
        if (
            not isinstance(value, Tensor)
            or value.ndim != len(shape)
            or value.shape[: len(shape) - 1] != shape[:-1]
            or (shape[-1] not in (-1, value.shape[-1]))
        ):
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise PremiseError(f"attack {name}: {field} is {what}; {tuple(shape)} is needed (-1: any number)")
    if found.xi.dtype != like.dtype:
        raise PremiseError(f"attack {name}: xi is {found.xi.dtype} in place of {like.dtype}")
    if not bool(found.xi.isfinite().all()):
        raise PremiseError(f"attack {name}: xi is not finite everywhere (nan or inf)")
    longest = float(found.xi.double().flatten(1).norm(dim=1).max())
    if longest > eps * (1 + BALL_TOLERANCE[0]) + BALL_TOLERANCE[1]:
        raise PremiseError(f"attack {name}: it left the ball: ‖xi‖ = {longest:g}, eps = {eps:g}")
    return found


class Search(Protocol):
    """How an attack looks for the xi that maximises a loss. Its parameters are its attributes."""

    name: ClassVar[str]

    def search(
        self, objective: Objective, like: Tensor, *, eps: float, seed: int = 0, image_keys: ImageKeys | None = None
    ) -> Found:
        """Maximise the loss of each image on its own over ||xi|| <= eps.

        Args:
            objective: the loss of each image as a function of xi.
            like: gives shape (B, C, H, W), dtype and device of xi.
            eps: radius of the l2 ball, [0, 1] pixel scale.
            image_keys: see :data:`invsmooth.core.rng.ImageKeys`; left out, the positions in the batch."""

    def cost(self, eps: float, passes: tuple[int, int], n_samples: int) -> tuple[int, int]:
        """Forward passes for each image, and those among them that a gradient is taken through.

        Args:
            passes: the same of one gradient of the objective (:meth:`Target.passes`).
            n_samples: forward passes of one value of the objective."""


@dataclass(frozen=True, kw_only=True)
class Ascent(ABC):
    """A gradient search from one or several starts. Each image keeps the best result of all starts.

    The first start is ``init``: ``"zero"`` (the paper), or uniform on the ``"sphere"`` of radius
    eps. All others are on the sphere.

    Raises: ValueError: a parameter that its type hint does not allow."""

    n_iter: Count  # gradients for each start
    step_size: Positive | None = None  # the first, in the unit of eps; None: the search's default
    init: Init = "zero"
    restarts: Count = 1  # number of starts

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def ascend(self, objective: Objective, start: Tensor, eps: float, final_loss: bool = True) -> tuple[Tensor, Tensor]:
        """Search from one start: ``n_iter`` gradients and one more forward pass.

        Args:
            final_loss: False allows to save that pass if xi does not depend on it. The loss is then
                that of the iterate before.
        Returns: xi, shape (B, C, H, W), and its loss, shape (B,)."""

    def search(
        self, objective: Objective, like: Tensor, *, eps: float, seed: int = 0, image_keys: ImageKeys | None = None,
        start: Tensor | None = None, final_loss: bool = True,
    ) -> Found:  # fmt: skip
        """As :meth:`Search.search`. eps = 0 returns zeros without a gradient.

        Args:
            start: first start instead of ``init``, shape of xi; it is projected on the ball.
            final_loss: see :meth:`ascend`.
        Raises:
            ValueError: the number of keys is not that of images.
            NotFiniteError: the loss of an image is not finite."""
        keys = keys_of(len(like), image_keys)
        if eps == 0:
            with torch.no_grad():
                loss = checked(objective.value(torch.zeros_like(like)))
            return Found(torch.zeros_like(like), loss, loss[:, None])
        best_xi, best_loss, losses = like, None, []
        for number in range(self.restarts):
            if start is not None and number == 0:
                xi = project(start, eps)
            elif self.init == "sphere" or number > 0:
                xi = on_sphere(like, eps, seed, keys, number)
            else:
                xi = torch.zeros_like(like)
            xi, loss = self.ascend(objective, xi, eps, final_loss)
            best_xi, best_loss = better_of(xi, loss, best_xi, best_loss)
            losses.append(loss)
        assert best_loss is not None
        return Found(best_xi, checked(best_loss), torch.stack(losses, 1))

    def cost(self, eps: float, passes: tuple[int, int], n_samples: int) -> tuple[int, int]:
        if eps == 0:
            return n_samples, 0
        return self.restarts * (self.n_iter * passes[0] + n_samples), self.restarts * self.n_iter * passes[1]


def better_of(xi: Tensor, loss: Tensor, best_xi: Tensor, best_loss: Tensor | None) -> tuple[Tensor, Tensor]:
    """The perturbation with the larger loss, and it, image by image; the newer one on a tie."""
    if best_loss is None:
        return xi, loss
    newer = is_better(loss, best_loss)
    return torch.where(per_image(newer, xi), xi, best_xi), torch.where(newer, loss, best_loss)


def is_better(loss: Tensor, best_loss: Tensor) -> Tensor:
    """nan replaces the best and is never replaced, so that :func:`checked` sees it."""
    return ~(loss < best_loss) & ~best_loss.isnan()


def checked(loss: Tensor) -> Tensor:
    """``loss`` itself. Raises NotFiniteError: the loss of an image is not finite."""
    if bad := (~loss.isfinite()).nonzero().flatten().tolist():
        raise NotFiniteError(f"the attacked loss is not finite for the images at positions {bad} of the batch")
    return loss
