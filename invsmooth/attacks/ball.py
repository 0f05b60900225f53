"""The l2 ball of the attack, per image."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-12
"""Floor of a norm before it divides."""


def norm(xi: Tensor) -> Tensor:
    """l2 norm of each image, shaped (B, 1, …, 1) to broadcast against ``xi`` of shape (B, …)."""
    return xi.flatten(1).norm(dim=1).view(-1, *[1] * (xi.ndim - 1))


def project(xi: Tensor, eps: float) -> Tensor:
    """Nearest point to ``xi`` in the l2 ball of radius ``eps``, per image.

    Args:
        xi: perturbations, shape (B, …), in the unit of ``eps``.
        eps: radius, >= 0.
    Source: paper eq. (2); Madry et al. 2018, section 2.
    """
    return xi * (eps / norm(xi).clamp_min(TINY)).clamp_max(1.0)


def steepest(gradient: Tensor) -> Tensor:
    """Direction of steepest ascent of unit l2 norm, per image; zero where the gradient is zero."""
    return gradient / norm(gradient).clamp_min(TINY)


def on_sphere(like: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Uniform on the sphere of radius ``eps``, per image; shape, dtype and device of ``like``."""
    direction = torch.randn(like.shape, generator=generator).to(like)
    return eps * steepest(direction)
