"""The l2 ball of the attack, per image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from invsmooth.core.rng import standard_normal

TINY = 1e-12  # floor of a norm before it divides


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Values of shape (B,) as (B, 1, …, 1), to broadcast against ``like`` of shape (B, …)."""
    return values.view(-1, *[1] * (like.ndim - 1))


def norm(xi: Tensor) -> Tensor:
    """l2 norm of each image, shape (B, 1, …, 1)."""
    return per_image(xi.flatten(1).norm(dim=1), xi)


def project(xi: Tensor, eps: float) -> Tensor:
    """Nearest point to ``xi`` (B, …) in the l2 ball of radius ``eps`` >= 0, per image.

    Source: paper eq. (2); Madry et al. 2018, section 2."""
    return xi * (eps / norm(xi).clamp_min(TINY)).clamp_max(1.0)


def steepest(gradient: Tensor) -> Tensor:
    """Direction of steepest ascent of unit l2 norm, per image; zero where the gradient is zero."""
    return gradient / norm(gradient).clamp_min(TINY)


def on_sphere(like: Tensor, eps: float, seed: int, image_keys: Sequence[str | int], number: int) -> Tensor:
    """Uniform on the sphere of radius ``eps``, per image; shape, dtype and device of ``like``.

    An image's point is a function of (seed, its key, ``number``), whatever its batch."""
    directions = [standard_normal(like.shape[1:], seed, "attack", key, number) for key in image_keys]
    return eps * steepest(torch.stack(directions).to(like))
