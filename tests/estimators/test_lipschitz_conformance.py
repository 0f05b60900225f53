"""Our estimators with a constant, and one that declares a wrong one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from invsmooth.estimators import (
    CRR,
    LMMSE,
    TV,
    Equilibrium,
    IdentityEstimator,
    LipNet,
    MatchedFilter,
    NullSpace,
    Ridge,
    WaveletShrinkage,
    Wiener,
)  # fmt: skip
from invsmooth.operators import BlockGaussian, Blur, Identity, LinearOperator
from tests.estimators import lipschitz_conformance

BLOCKS = BlockGaussian(0.3, block=8)


def fitted(estimator: nn.Module) -> nn.Module:
    """In closed form, to smooth random blocks."""
    images = torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3) * 0.05 + 0.5
    estimator.fit(images, [BLOCKS], 0.0)
    return estimator


WITH_A_CONSTANT = [
    (IdentityEstimator, Identity(), 0.99),
    (MatchedFilter, BLOCKS, 0.99),
    (lambda: Ridge(0.5), BLOCKS, 0.94),
    (lambda: LipNet(3, 4, 3, constant=1.0), Identity(), 0.9),
    (lambda: LipNet(3, 4, 3, constant=2.0), Identity(), 0.45),
    (lambda: LipNet(3, 4, 3, constant=2.0, group=2), Identity(), 0.45),
    (lambda: fitted(LMMSE([0.3], 8)), BLOCKS, 0.9),
    (lambda: fitted(NullSpace([0.3], 8, n_phases=3, filters=3, kernel=3)), BLOCKS, 0.6),
    (lambda: fitted(NullSpace([0.3], 8, n_phases=3, filters=4, kernel=3, group=2)), BLOCKS, 0.6),
    # The share that is found at least. Flat perturbations pass through all three denoisers.
    (lambda: TV(0.05), Identity(), 0.9),
    (lambda: WaveletShrinkage(0.05), Identity(), 0.9),
    (Wiener, Identity(), 0.99),
    (lambda: Wiener(0.05), Blur(), 0.85),
    (lambda: CRR(4, 3, 5.0, 0.01), Identity(), 0.9),
    (lambda: Equilibrium(0.1, 0.5, 4, 3, 1.0, 0.01), Identity(), 0.9),
    (lambda: Equilibrium(0.1, 0.5, 4, 3, 1.0, 0.01), BLOCKS, 0.5),
    (lambda: Equilibrium(2.0, 0.5, 4, 3, 1.0, 0.01), BLOCKS, 0.5),
]  # fmt: skip


@pytest.mark.parametrize(("make", "operator", "least"), WITH_A_CONSTANT)
def test_conformance(make, operator: LinearOperator, least: float) -> None:
    torch.manual_seed(0)
    lipschitz_conformance.check(make(), operator, least)


@pytest.mark.parametrize(("make", "operator", "least"), WITH_A_CONSTANT)
def test_conformance_in_colour(make, operator: LinearOperator, least: float) -> None:
    torch.manual_seed(0)
    lipschitz_conformance.check(make(), operator, least / 2, steps=[0.3], n_iter=4, channels=3)


@pytest.mark.parametrize(("make", "operator", "least"), WITH_A_CONSTANT)
def test_each_channel_is_reconstructed_on_its_own(make, operator: LinearOperator, least: float) -> None:
    torch.manual_seed(0)
    f, operator = make().double(), copy.deepcopy(operator).double()
    x = torch.rand(2, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([f(operator.A(x[:, c : c + 1]), operator) for c in range(3)], dim=1)
    torch.testing.assert_close(f(operator.A(x), operator), alone, rtol=1e-6, atol=2e-3)  # TV solves to 0.01


class Boasting(nn.Module):
    """x_hat = gain · A^T y, which is said to be 1-Lipschitz."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, y: Tensor, operator: LinearOperator) -> Tensor:
        return self.gain * operator.A_adjoint(y)

    def lipschitz(self, operator: LinearOperator) -> float:
        return 1.0


@pytest.mark.parametrize("operator", [Identity(), BLOCKS], ids=["identity", "block"])
def test_a_wrong_constant_is_found(operator: LinearOperator) -> None:
    assert lipschitz_conformance.check(Boasting(0.99), operator, 0.98)["measurement"] == pytest.approx(0.99, rel=1e-3)
    with pytest.raises(AssertionError, match="declared 1"):
        lipschitz_conformance.check(Boasting(1.01), operator)
    with pytest.raises(AssertionError, match="found"):
        lipschitz_conformance.check(Boasting(0.5), operator, least=0.9)
