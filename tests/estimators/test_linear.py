"""Linear estimators in closed form: their constants against dense singular values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant, NotConverged, PremiseError
from invsmooth.estimators import IdentityEstimator, MatchedFilter, Ridge
from invsmooth.lipschitz.constants import in_float64, inexactness, lipschitz_constant
from invsmooth.lipschitz.rounding import largest_norm, product_rounding
from invsmooth.operators import BlockGaussian, Identity, LinearOperator, as_operator
from tests.operators.test_operators import Mask


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix_of(operator: LinearOperator, size: tuple[int, int]) -> np.ndarray:
    """A, dense, float64."""
    units = torch.eye(math.prod(size), dtype=torch.float64).view(-1, 1, *size)
    return in_float64(operator).A(units).flatten(1).T.numpy()


def oblique() -> BlockGaussian:
    """Rows that are not orthonormal: singular values of 0.3 to 4."""
    rows = torch.linalg.qr(randn(16, 6))[0].T
    return BlockGaussian(6 / 16, block=4, matrix=(torch.linspace(0.3, 4, 6)[:, None] * rows).float())


OPERATORS = {"identity": Identity(), "orthonormal": BlockGaussian(6 / 16, block=4), "oblique": oblique()}
SIZES = [(8, 8), (4, 12), (7, 10), (3, 5)]
"""Whole blocks, and blocks that are partly pad."""


def test_identity() -> None:
    y = randn(2, 1, 5, 7)
    assert torch.equal(IdentityEstimator()(y, Identity()), y)
    assert lipschitz_constant(IdentityEstimator(), Identity()) == 1
    with pytest.raises(PremiseError, match=r"for operator=identity, not for BlockGaussian"):
        IdentityEstimator()(y, OPERATORS["oblique"])
    with pytest.raises(PremiseError, match="not for BlockGaussian"):
        lipschitz_constant(IdentityEstimator(), OPERATORS["oblique"])


@pytest.mark.parametrize("name", OPERATORS)
def test_matched_filter(name: str) -> None:
    operator = OPERATORS[name]
    norms = [np.linalg.norm(matrix_of(operator, size), 2) for size in SIZES]
    for threat, power in (("measurement", 1), ("signal", 2)):
        constant = lipschitz_constant(MatchedFilter(), operator, threat)
        assert max(norms) ** power <= constant <= max(norms) ** power * (1 + 1e-8)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 5, 40])
@pytest.mark.parametrize("name", OPERATORS)
def test_constants_of_ridge(name: str, alpha: float) -> None:
    """Exact for one image size and in signal space, else an upper bound for every size. The largest alpha lies above all
    squared singular values."""
    operator, ridge = OPERATORS[name], Ridge(alpha)
    for size in SIZES:
        a = matrix_of(operator, size)
        reconstruction = a.T @ np.linalg.inv(a @ a.T + alpha * np.eye(len(a)))
        truth = {"measurement": np.linalg.norm(reconstruction, 2), "signal": np.linalg.norm(reconstruction @ a, 2)}
        sized = operator.for_image_size(*size) if isinstance(operator, BlockGaussian) else operator
        for threat, exact in truth.items():
            assert exact <= lipschitz_constant(ridge, operator, threat) * (1 + 1e-12)
            assert exact <= lipschitz_constant(ridge, sized, threat) <= exact * (1 + 1e-6)
    assert lipschitz_constant(ridge, operator, "measurement") <= 1 / (2 * math.sqrt(alpha)) * (1 + 1e-8)


def test_blocks_that_are_partly_pad_have_other_singular_values() -> None:
    """So 1/(1 + alpha) is wrong for an operator with orthonormal rows, unless its blocks are whole."""
    operator, ridge = BlockGaussian(12 / 16, block=4), Ridge(0.01)
    whole = lipschitz_constant(ridge, operator.for_image_size(8, 8), "measurement")
    assert whole == pytest.approx(1 / 1.01, rel=1e-6)
    assert lipschitz_constant(ridge, operator.for_image_size(7, 8), "measurement") > 2 * whole


def test_ridge_for_an_operator_without_a_norm() -> None:
    """s/(s² + alpha) is at most 1/(2 sqrt(alpha)), s²/(s² + alpha) at most 1, whatever s is."""
    operator = as_operator(Mask())
    assert lipschitz_constant(Ridge(0.25), operator, "measurement") == pytest.approx(1, rel=1e-8)
    assert lipschitz_constant(Ridge(0.25), operator, "signal") == pytest.approx(1, rel=1e-8)
    with pytest.raises(NoConstant, match=r"operator Wrapped declares no norm\(\)"):
        lipschitz_constant(MatchedFilter(), operator)


def test_inexactness_of_ridge_holds_over_the_ball() -> None:
    """Against a dense solve, with a coarse tolerance, for measurements around the one that it is asked for."""
    # As many different singular values as conjugate gradients need to stop early.
    operator = in_float64(BlockGaussian(40 / 64, block=8, matrix=randn(40, 64).float() / 4))
    ridge, y, eps = Ridge(0.05, tolerance=1e-2), randn(2, 40, 1, 2), 3.0
    rho = inexactness(ridge, operator, y, eps)
    a = matrix_of(operator, (8, 16))
    exact = a.T @ np.linalg.inv(a @ a.T + 0.05 * np.eye(len(a)))
    distances = []
    for seed in range(40):
        eta = randn(*y.shape, seed=seed)
        near = y + eps * eta / eta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        difference = ridge(near, operator).flatten(1).numpy() - near.flatten(1).numpy() @ exact.T
        distances += [*np.linalg.norm(difference, axis=1)]
    assert 0.01 * rho < max(distances) <= rho
    share = lipschitz_constant(ridge, operator, "measurement") * 1e-2
    assert rho == pytest.approx(2 * share * (float(y.flatten(1).norm(dim=1).max()) + eps))


def test_ridge_that_does_not_converge_is_an_error_in_float64() -> None:
    operator, y = oblique(), randn(1, 6, 2, 2)
    ridge = Ridge(1e-3, n_iter=3)
    ridge(y.float(), operator)
    with pytest.raises(NotConverged, match=r"did not converge in 3 iterations: the residual is \d\.\d+ \|\|y\|\|"):
        ridge(y, in_float64(operator))
    assert Ridge(1e-3, n_iter=20)(y, in_float64(operator)).isfinite().all()
    with pytest.raises(NotConverged):
        Ridge(0.1)(y * torch.nan, in_float64(operator))
    assert not Ridge(0.1)(0 * y, in_float64(operator)).any()


def test_rounding_of_products() -> None:
    """Against exact fractions."""
    matrix, v = randn(4, 400), randn(400, seed=1)
    computed = (matrix @ v).tolist()
    exact = [sum(Fraction(a) * Fraction(b) for a, b in zip(row, v.tolist(), strict=True)) for row in matrix.tolist()]
    distance = math.sqrt(sum(float(Fraction(c) - e) ** 2 for c, e in zip(computed, exact, strict=True)))
    bound = product_rounding(matrix, 400, float(v.norm()))
    assert 0 < distance <= bound
    assert bound == pytest.approx(400 * 2.0**-53 * float(matrix.norm() * v.norm()), rel=1e-6)
    y = torch.stack([torch.ones(1, 2, 2), torch.zeros(1, 2, 2)])
    assert largest_norm(y, 0.5) == 2.5
    operator = oblique()
    assert inexactness(MatchedFilter(), operator, y, 0.5) == product_rounding(operator.phi, 6, 2.5)
    assert inexactness(MatchedFilter(), Identity(), y, 0.5) == 0


class Declared(nn.Module):
    """An operator as another library might have it."""

    def __init__(self, norm: object) -> None:
        super().__init__()
        self.norm = norm

    def A(self, x: Tensor) -> Tensor:
        return 2 * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return 2 * y


def test_operators_from_elsewhere() -> None:
    """A number called norm is no method, and what the method gives has to be a number."""
    assert lipschitz_constant(MatchedFilter(), as_operator(Declared(lambda: 2.0))) == 4
    with pytest.raises(NoConstant, match="declares no norm"):
        lipschitz_constant(MatchedFilter(), as_operator(Declared(2.0)))
    with pytest.raises(NoConstant, match="declared as nan"):
        lipschitz_constant(MatchedFilter(), as_operator(Declared(lambda: math.nan)))
