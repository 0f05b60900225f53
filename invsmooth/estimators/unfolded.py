"""Memory of unfolded networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LARGE = 2**20
"""Pixels. The gradient on images with more keeps what one step needs, not what all of them need."""


def unfolded(step: Callable[..., Tensor], x: Tensor, *others: Any) -> Tensor:
    """``step(x, *others)``, x of shape (B, C, H, W). For a gradient on images above LARGE only x is kept, and the step is
    computed again on the way back: a third more time, and the memory of one step instead of all."""
    if torch.is_grad_enabled() and x.shape[-2] * x.shape[-1] > LARGE:
        found: Tensor = checkpoint(step, x, *others, use_reentrant=False)
        return found
    return step(x, *others)
