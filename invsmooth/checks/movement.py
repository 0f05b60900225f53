"""The truth check of a certificate by a Lipschitz constant: how far an attack moves f^, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from invsmooth.attacks.ball import norm, per_image
from invsmooth.checks.truth import Attacked, TruthCheck
from invsmooth.estimators.precise import Precise

ROUNDING = 1e-12
"""Of a distance of two reconstructions in float64, relative to their norms; far above what sums of thousands of
products round."""


def check_movement(
    attacked: Attacked, bound: Tensor, *, y: Tensor, x_hat: Tensor, constant: float, radius: Tensor, in_signal: bool
) -> TruthCheck:
    """Compare ||f^(y + A xi) - f^(y)|| with what is certified of a perturbation of just this length: L ||xi|| + 2 rho,
    or L ||A xi|| + 2 rho where the attack is one on the measurement. Nothing is drawn: it holds or it does not.

    An attack that is longer than the radius, as by rounding, is shortened to it.

    Args:
        bound: (L eps + 2 rho)²/n, shape (B,); nan where none exists.
        y, x_hat: the certified measurements, and f^ of them.
        radius: eps, shape (B,).
        in_signal: the threat is xi on the signal, not A xi on the measurement.
    Returns: values as MSE; the limits are those of rounding."""
    f = Precise(attacked.estimator, attacked.operator)
    with torch.no_grad():
        xi = attacked.xi.double()
        eta = f.operator.A(xi)
        length = norm(xi if in_signal else eta).flatten()
        factor = (radius / length.clamp_min(1e-300)).clamp_max(1)
        there = f(y.double() + per_image(factor, eta) * eta)
    moved = norm(there - x_hat).flatten()
    slack = ROUNDING * (norm(there) + norm(x_hat)).flatten()
    n = x_hat[0].numel()
    allowed = ((bound * n).sqrt() + constant * (factor * length - radius)).clamp_min(0)
    check = TruthCheck(
        estimate=moved, lower=(moved - slack).clamp_min(0), upper=moved + slack, certified=allowed, confidence=1.0,
        n_samples=0, seed=0, network_evals=1, evidence={"y": y, "scale": factor, "eps": radius, "lipschitz": constant},
    )  # fmt: skip
    return check.scaled(power=2, factor=1 / n)
