"""What every operator has to do.

One of ours joins by one line in OPERATORS (test_operators.py). A test of anybody's own::

    from tests.operators.conformance import check

    def test_my_operator() -> None:
        check(Mask(every=3))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from invsmooth.operators import LinearOperator, Operator, as_operator, operator_norm

SIZES = ((33, 66), (40, 50), (7, 3))


def check(operator: Operator, sizes: Sequence[tuple[int, int]] = SIZES) -> None:
    """Every check, in double precision but for the one of types."""
    keeps_types(operator, sizes[0])
    double = copy.deepcopy(operator)
    if isinstance(double, torch.nn.Module):
        double.double()
    for size in sizes:
        for part in CHECKS:
            part(double, size)


def images(size: tuple[int, int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def is_adjoint(operator: Operator, size: tuple[int, int]) -> None:
    """<A x, y> = <x, A^T y>, and shapes come back."""
    x = images(size)
    y = torch.randn(operator.A(x).shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    back = operator.A_adjoint(y)
    assert back.shape == x.shape, f"A_adjoint gives {tuple(back.shape)} for images of {tuple(x.shape)}"
    torch.testing.assert_close((operator.A(x) * y).sum(), (x * back).sum(), rtol=1e-10, atol=1e-12)


def is_linear(operator: Operator, size: tuple[int, int]) -> None:
    x, z = images(size), images(size, 1)
    torch.testing.assert_close(operator.A(2.5 * x - z), 2.5 * operator.A(x) - operator.A(z), rtol=1e-10, atol=1e-10)


def is_repeatable(operator: Operator, size: tuple[int, int]) -> None:
    """The same call gives the same bits: the noise is added outside. Each image of a batch is measured by itself."""
    x = images(size)
    y = operator.A(x)
    assert torch.equal(y, operator.A(x))
    assert torch.equal(operator.A_adjoint(y), operator.A_adjoint(y))
    torch.testing.assert_close(operator.A(x[1:]), y[1:], rtol=1e-10, atol=1e-12)


def has_its_norm(operator: Operator, size: tuple[int, int]) -> None:
    """The norm by power iteration is that of the dense matrix, on a size that is small enough for it."""
    n = size[0] * size[1]
    if n > 400:
        return
    dense = operator.A(torch.eye(n, dtype=torch.float64).reshape(n, 1, *size)).flatten(1)
    expected = float(torch.linalg.matrix_norm(dense, 2))
    single = copy.deepcopy(operator)
    if isinstance(single, torch.nn.Module):
        single.float()
    assert operator_norm(single, size, n_iter=300) == pytest.approx(expected, rel=1e-3, abs=1e-6)


def keeps_types(operator: Operator, size: tuple[int, int]) -> None:
    """Type and device of the measurement are those of the image."""
    x = images(size, dtype=torch.float32)
    y = operator.A(x)
    assert (y.dtype, y.device) == (x.dtype, x.device)
    assert (operator.A_adjoint(y).dtype, operator.A_adjoint(y).device) == (x.dtype, x.device)


def has_a_hash(operator: Operator, size: tuple[int, int]) -> None:
    """The same in a second one of the same parameters."""
    known: LinearOperator = as_operator(operator)
    assert known.sha256() == as_operator(copy.deepcopy(operator)).sha256()
    assert known.ratio > 0


CHECKS: tuple[Callable[[Operator, tuple[int, int]], None], ...] = (
    is_adjoint, is_linear, is_repeatable, has_its_norm, has_a_hash,
)  # fmt: skip
