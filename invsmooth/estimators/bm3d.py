"""BM3D, by the package ``bm3d`` of its authors, which invsmooth does not install."""

from __future__ import annotations

import importlib
import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from invsmooth.core.errors import PremiseError
from invsmooth.core.parameters import Positive
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity

SMALLEST = 16  # pixels; the package kills the process for images of 8 × 8

MISSING = (
    "estimator=bm3d needs the package bm3d (pip install bm3d). Its licence allows non-commercial use only and its code is "
    "not open, so that invsmooth does not install it; estimator=wavelet and estimator=tv need nothing"
)


class BM3D(nn.Module):
    """Block matching and collaborative filtering (Dabov, Foi, Katkovnik and Egiazarian 2007; Mäkinen, Azzari and Foi
    2020), for A = I. Each image alone, in float64.

    It has no Lipschitz constant, and no gradient: blocks are matched, coefficients are thresholded hard. What an
    attack gets as its gradient is a choice:

    - ``gradient="identity"``: that of x_hat = y (backward pass differentiable approximation, Athalye, Carlini and
      Wagner 2018). It is a weak attack: what it leaves of the PSNR is an upper bound of what a better one would.
    - ``gradient="none"``: gradients are refused; for ``attack=noise``, and certificates by smoothing, which need none.

    Args:
        sigma: standard deviation of the noise that is expected, [0, 1] scale. 0.0588 is 15 grey levels.
    Raises: ValueError: sigma not positive, another ``gradient``. PremiseError: the package is not installed."""

    def __init__(self, sigma: Positive = 0.0588, gradient: Literal["identity", "none"] = "identity") -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma={sigma} has to be positive")
        if gradient not in ("identity", "none"):
            raise ValueError(f"gradient={gradient!r} is not allowed; allowed: identity, none")
        self.sigma, self.gradient = sigma, gradient
        package()

    def check_operator(self, operator: Operator) -> None:
        """Raises: PremiseError: A is not the identity."""
        if not isinstance(operator, Identity):
            raise PremiseError(f"bm3d is a denoiser (A = I), not for {type(operator).__name__}")

    @torch.compiler.disable
    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images like y (B, 1, H, W). Raises: PremiseError: A is not the identity, images of fewer than SMALLEST pixels a
        side, or with ``gradient="none"`` y needs a gradient."""
        self.check_operator(operator)
        if min(y.shape[-2:]) < SMALLEST:
            raise PremiseError(f"bm3d takes images from {SMALLEST}×{SMALLEST} pixels, not {tuple(y.shape[-2:])}")
        if self.gradient == "none" and y.requires_grad and torch.is_grad_enabled():
            raise PremiseError("bm3d has no gradient: attack=noise needs none, estimator.gradient=identity replaces it")
        with torch.no_grad():
            planes = y.detach().double().cpu().reshape(-1, *y.shape[-2:]).numpy()
            found = np.stack([package().bm3d(plane, self.sigma) for plane in planes])
            moved = torch.from_numpy(found).reshape(y.shape).to(y) - y.detach()
        return y + moved


def package() -> Any:
    """Raises: PremiseError: it is not installed."""
    try:
        return importlib.import_module("bm3d")
    except ImportError as error:
        raise PremiseError(MISSING) from error
