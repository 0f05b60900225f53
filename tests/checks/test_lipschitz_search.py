"""The search against maps whose constant is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from invsmooth.checks.lipschitz_search import Pair, search, search_from, top_direction
from invsmooth.checks.lipschitz_verdict import is_proven, verdict
from invsmooth.core.errors import NotFiniteError, PremiseError
from invsmooth.estimators import LipNet, MatchedFilter
from invsmooth.operators import Identity, as_operator


def uniform(*shape: int) -> Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def linear(weight: Tensor):
    return lambda y: (y @ weight.T)[:, None, :, None]


@pytest.mark.parametrize(("m", "n"), [(40, 200), (100, 100), (150, 50)])
def test_a_matrix_is_found_to_have_its_largest_singular_value(m: int, n: int) -> None:
    weight = torch.randn(m, n, generator=torch.Generator().manual_seed(m), dtype=torch.float64)
    largest = float(torch.linalg.matrix_norm(weight, 2))
    found = search(linear(weight), uniform(n))
    assert 0.99 * largest < found.best.lower_bound <= largest * (1 + 1e-12)
    # Power iteration alone, without what comes after it.
    direction = top_direction(linear(weight), uniform(n), uniform(n), 1e-3, 200)
    assert float((direction @ weight.T).norm()) == pytest.approx(largest, rel=1e-3)


def test_the_identity_has_1_and_never_more() -> None:
    for number in range(3):
        found = search(lambda y: y[:, None], uniform(8, 8), number=number)
        assert 0.99 <= found.best.lower_bound <= 1


def test_both_ends_move_to_where_a_curve_is_steepest() -> None:
    """sin(y_1): slope cos(y_1) = 0.07 at the start, 1 at y_1 = 0, far outside of the first step."""
    start = torch.tensor([[1.5, 0.1]], dtype=torch.float64)
    found = search(lambda y: y[:, :1].sin()[..., None, None], start)
    assert found.best.lower_bound > 0.99
    assert found.best.ratio <= 1


def test_the_pair_is_what_it_says() -> None:
    f = linear(torch.diag(torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)))
    calls = 0

    def counted(y: Tensor) -> Tensor:
        nonlocal calls
        calls += len(y)
        return f(y)

    found = search(counted, uniform(3), n_iter=4, n_steps=6)
    best = found.best
    assert found.evaluations == calls
    assert best.moved == pytest.approx(float((f(best.u) - f(best.v)).norm()), rel=1e-12)
    assert best.distance == pytest.approx(float((best.u - best.v).norm()), rel=1e-12)
    again = search(f, uniform(3), n_iter=4, n_steps=6)
    assert torch.equal(again.best.u, best.u)
    other = search(f, uniform(3), n_iter=0, n_steps=1, number=1)
    both = other | found
    assert (both.best, both.evaluations) == (best, found.evaluations + other.evaluations)
    assert both.lower_bounds == (*other.lower_bounds, best.lower_bound)


def test_rounding_in_single_precision_refutes_nothing() -> None:
    """At a small step single precision alone moves the answer by more than the step is long."""
    u = 1 + uniform(50)
    v = u + 1e-9 * torch.ones_like(u)

    def rounded(y: Tensor) -> Tensor:
        return y.float().double()[:, None, :, None]

    near = search_from(rounded, u, v, n_steps=1).best
    assert search(rounded, u).best.lower_bound <= 1
    assert near.lower_bound <= 1
    seen = [float((rounded(u) - rounded(u + t * 1e-9)).norm() / (t * 1e-9 * 50**0.5)) for t in range(1, 100)]
    assert max(seen) > 1.5  # what a search without an allowance would report


def test_inexactness_counts_twice() -> None:
    pair = Pair(torch.zeros(1, 1), torch.ones(1, 1), moved=1.3, distance=1.0, error=0.1)
    assert pair.ratio == 1.3
    assert pair.lower_bound == pytest.approx(1.1)
    same = Pair(torch.zeros(1, 1), torch.zeros(1, 1), moved=0.0, distance=0.0, error=0.1)
    assert (same.ratio, same.lower_bound) == (0, 0)
    f = linear(torch.eye(3, dtype=torch.float64))
    assert search(f, uniform(3), rho=0.01).best.error == pytest.approx(0.01, abs=1e-4)


def test_a_constant_function_has_0() -> None:
    assert search(lambda y: 0 * y[:, None], uniform(4, 4)).best.lower_bound == 0


def test_what_cannot_be_searched_says_so() -> None:
    with pytest.raises(PremiseError, match="no gradient"):
        search(lambda y: y.detach()[:, None], uniform(4, 4))
    with pytest.raises(NotFiniteError, match="not finite"):
        search(lambda y: (y - 5).sqrt()[:, None], uniform(4, 4))


def test_verdicts() -> None:
    assert verdict(1.01, 1.0, None, True) == "refuted"
    assert verdict(1.0, 1.0, None, True) == "proven"
    assert verdict(1.0, 1.0, None, False) == "not refuted"
    assert verdict(5.0, None, None, True) == "no constant declared"
    assert verdict(1.2, None, 1.0, True) == "refuted"
    assert verdict(0.9, None, 1.0, True) == "not refuted"
    assert verdict(1.2, 2.0, 1.0, True) == "refuted"
    assert verdict(0.9, 2.0, 1.0, True) == "not refuted"  # the claim is not proven
    assert verdict(0.9, 1.0, 2.0, True) == "proven"


class Inherited(LipNet):
    """From outside, with our method and another map."""


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.estimator = LipNet(1, 4, 3)


class HalfMask:
    def A(self, x: Tensor) -> Tensor:
        return x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y


def test_only_what_is_all_ours_is_proven() -> None:
    assert is_proven(LipNet(1, 4, 3), Identity())
    assert is_proven(MatchedFilter(), Identity())
    assert not is_proven(Inherited(1, 4, 3), Identity())
    assert not is_proven(Around(), Identity())
    assert not is_proven(LipNet(1, 4, 3), as_operator(HalfMask()))
