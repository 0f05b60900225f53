"""One gradient, and the best of several steps along it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from invsmooth.attacks.ball import steepest
from invsmooth.attacks.objectives import Objective
from invsmooth.attacks.search import Found, ImageKeys


@dataclass(frozen=True)
class LineSearch:
    """Args: steps: how many lengths up to eps are tried along the gradient at 0."""

    name: ClassVar[str] = "line_search"

    steps: int = 3

    def search(
        self, objective: Objective, like: Tensor, *, eps: float, seed: int = 0, image_keys: ImageKeys | None = None
    ) -> Found:
        """The best xi, ||xi||_2 <= eps, for each image on its own. Nothing here is random, so seed is not used."""
        best = torch.zeros_like(like)
        loss, gradient = objective.value_and_gradient(best)
        losses = [loss]
        for k in range(1, self.steps + 1):
            xi = eps * k / self.steps * steepest(gradient)
            with torch.no_grad():
                value = objective.value(xi)
            losses.append(value)
            better = value > loss
            loss = torch.where(better, value, loss)
            best = torch.where(better.view(-1, 1, 1, 1), xi, best)
        return Found(best, loss, torch.stack(losses, 1))

    def cost(self, eps: float, passes: tuple[int, int], n_samples: int) -> tuple[int, int]:
        """Forward passes, and how many of them have a gradient, for each image."""
        return passes[0] + self.steps * n_samples, passes[1]
