"""What every estimator with a Lipschitz constant keeps to.

One of ours joins by one line in WITH_A_CONSTANT (test_lipschitz_conformance.py). A test of anybody's own::

    from tests.estimators.lipschitz_conformance import check

    def test_my_estimator() -> None:
        check(MyNet(width=4), Identity(), least=0.5)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from invsmooth.estimators.premises import checked
from invsmooth.lipschitz import constants
from invsmooth.operators import LinearOperator

STEPS = (1e-2, 0.3, 3.0)
"""Distances ||y' - y||. At the smallest one the search is power iteration on the Jacobian."""
SIGMA_B = 15 / 255
ROUNDING = 1e-12
"""Relative, of the distances."""


def check(
    estimator: nn.Module, operator: LinearOperator, least: float = 0.0, size: tuple[int, int] = (16, 16),
    steps: Sequence[float] = STEPS, n_iter: int = 8, channels: int = 1,
) -> dict[str, float]:  # fmt: skip
    """Declarations, and the search for the worst pair in both spaces: no pair is further apart than the constant says, and
    one comes to ``least`` of it. Returns the share of the constant that was found, for each threat."""
    declares_what_it_should(estimator, operator)
    f, double = constants.in_float64(estimator), constants.in_float64(operator)
    assert isinstance(double, LinearOperator)
    x = images(size, channels)
    y = double.A(x)
    y = y + SIGMA_B * noise(y.shape, 1)
    b = y - double.A(x)
    checked(f, double, y, x)
    spaces: dict[str, tuple[Callable[[Tensor], Tensor], Tensor]] = {
        "signal": (lambda z: f(double.A(z) + b, double), x),
        "measurement": (lambda y: f(y, double), y),
    }
    shares = {}
    for threat in constants.THREATS:
        constant, (function, start) = constants.lipschitz_constant(f, double, threat), spaces[threat]
        reach = max(steps) * (constants.operator_norm_bound(double) if threat == "signal" else 1.0)
        rho = constants.inexactness(f, double, y, reach)
        ratio = 0.0
        for step in steps:
            for moved in search(function, start, step, n_iter):
                assert moved <= constant * step * (1 + ROUNDING) + 2 * rho, (
                    f"{threat}: {moved / step} at {step}, declared {constant}"
                )
                ratio = max(ratio, (moved - 2 * rho) / step)  # of the exact reconstructions
        shares[threat] = ratio / constant
        assert shares[threat] >= least, f"{threat}: {ratio} of {constant} found"
    return shares


def declares_what_it_should(estimator: nn.Module, operator: LinearOperator) -> None:
    """Numbers, finite and not negative, the same for training; rho grows with the radius."""
    for threat in constants.THREATS:
        assert math.isfinite(constants.lipschitz_constant(estimator, operator, threat))
    trained = constants.training_constant(estimator, operator)
    assert trained.shape == ()
    assert float(trained.detach()) >= constants.lipschitz_constant(estimator, operator) * (1 - 1e-6)
    if not hasattr(estimator, "lipschitz_signal"):
        assert float(trained.detach()) == pytest.approx(constants.lipschitz_constant(estimator, operator), rel=1e-6)
    y = operator.A(images((16, 16)).float())
    near, far = (constants.inexactness(estimator, operator, y, eps) for eps in (0.0, 10.0))
    assert 0 <= near <= far < math.inf


def search(function: Callable[[Tensor], Tensor], y: Tensor, step: float, n_iter: int) -> list[float]:
    """Largest ||f(y + step v) - f(y)|| over the batch, at each iteration of v <- J(y + step v)^T (f(y + step v) - f(y)),
    ||v|| = 1 per image: ascent for this distance, and for small steps power iteration on J^T J."""
    with torch.no_grad():
        centre = function(y)
    found, v = [], noise(y.shape, 2)
    for _ in range(n_iter):
        v = v / v.flatten(1).norm(dim=1).view(-1, *[1] * (v.ndim - 1)).clamp_min(1e-300)
        point = (y + step * v).requires_grad_()
        moved = function(point) - centre
        found.append(float(moved.detach().flatten(1).norm(dim=1).max()))
        (v,) = torch.autograd.grad(moved.square().sum(), point)
    return found


def images(size: tuple[int, int], channels: int = 1) -> Tensor:
    """Three images: smooth with an edge, flat, and noise; the channels turned by a quarter each."""
    coarse = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smooth = nn.functional.interpolate(coarse, size=size, mode="bilinear")
    smooth[..., size[1] // 2 :] = 1 - smooth[..., size[1] // 2 :]
    grey = torch.cat([smooth, torch.full_like(smooth, 0.4), 0.5 + 0.2 * noise(smooth.shape, 3)])
    return torch.cat([grey.rot90(k, (-2, -1)) for k in range(channels)], dim=1)


def noise(shape: Sequence[int], seed: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
