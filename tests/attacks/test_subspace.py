"""The quadratic model of the gradients seen, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.attacks import PGD, pgd
from invsmooth.attacks.ball import on_sphere
from invsmooth.attacks.subspace import best_in_span, maximiser
from invsmooth.core.errors import NotFiniteError
from tests.attacks.oracles import Linear, worst_case


class Quadratic:
    """||r + J xi||² of three images, and its gradient, in double precision."""

    def __init__(self, n: int = 24) -> None:
        generator = torch.Generator().manual_seed(0)
        self.r = torch.randn(3, 9, dtype=torch.float64, generator=generator)
        self.jacobian = torch.randn(3, 9, n, dtype=torch.float64, generator=generator)

    def residual(self, xi: Tensor) -> Tensor:
        return self.r + (self.jacobian @ xi.flatten(1)[:, :, None]).squeeze(2)

    def value(self, xi: Tensor) -> Tensor:
        return self.residual(xi).square().sum(1)

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        gradient = 2 * (self.jacobian.mT @ self.residual(xi)[:, :, None]).view_as(xi)
        return self.value(xi), gradient


@pytest.mark.parametrize("eps", [1e-3, 0.3, 5.0, 1e3])
def test_trust_region_in_closed_form(eps: float) -> None:
    """maximise ||r + J z||²: H = 2 J^T J, h = 2 J^T r, by another root finder."""
    problem = Quadratic(4)
    curvature = 2 * problem.jacobian.mT @ problem.jacobian
    z = maximiser(curvature, 2 * problem.jacobian.mT @ problem.r[:, :, None], eps)
    torch.testing.assert_close(z.norm(dim=1), torch.full_like(z[:, 0], eps), rtol=1e-6, atol=0)
    for i, found in enumerate(problem.value(z)):
        exact = worst_case(problem.jacobian[i].numpy(), problem.r[i].numpy(), eps)
        assert float(found) == pytest.approx(exact, rel=1e-9)


def test_concave_maximiser_is_inside_the_ball() -> None:
    z = maximiser(-2 * torch.eye(3, dtype=torch.float64)[None], torch.ones(1, 3, 1, dtype=torch.float64), 10.0)
    torch.testing.assert_close(z, torch.full_like(z, 0.5))
    nothing = maximiser(torch.zeros(1, 3, 3, dtype=torch.float64), torch.zeros(1, 3, 1, dtype=torch.float64), 10.0)
    assert torch.equal(nothing, torch.zeros_like(nothing))


def test_of_a_quadratic_it_is_the_exact_maximiser_in_the_span_with_its_gradient() -> None:
    problem, eps = Quadratic(), 2.0
    others = [
        torch.randn(3, 1, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (1, 2, 3)
    ]
    points = [torch.zeros_like(others[0]), *others]  # the differences span what the points do
    s, gradient = best_in_span(points, [problem.value_and_gradient(p)[1] for p in points], eps)
    assert s.shape == points[0].shape
    torch.testing.assert_close(gradient, problem.value_and_gradient(s)[1])
    for i in range(3):
        basis = np.linalg.qr(np.stack([p[i].flatten().numpy() for p in others], 1))[0]
        exact = worst_case(problem.jacobian[i].numpy() @ basis, problem.r[i].numpy(), eps)
        assert float(problem.value(s)[i]) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("same", [True, False])
def test_points_that_add_no_direction(same: bool) -> None:
    """All the same point, or two of three: nothing is divided by zero."""
    problem, point = Quadratic(), torch.full((3, 1, 4, 6), 0.1, dtype=torch.float64)
    points = [torch.zeros_like(point) if not same else point, point, point]
    s, gradient = best_in_span(points, [problem.value_and_gradient(p)[1] for p in points], 0.7)
    assert bool(s.isfinite().all())
    assert bool(gradient.isfinite().all())
    zeros = [torch.zeros_like(point)] * 3
    s, gradient = best_in_span(zeros, [torch.ones_like(point)] * 3, 0.7)
    assert torch.equal(s, zeros[0])
    torch.testing.assert_close(gradient, torch.ones_like(point))


def test_autocast_does_not_round_the_model() -> None:
    problem = Quadratic()
    points = [torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(k)) for k in (1, 2, 3)]
    gradients = [problem.value_and_gradient(p.double())[1].float() for p in points]
    plain = best_in_span(points, gradients, 2.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = best_in_span(points, gradients, 2.0)
    for p, q in zip(plain, inside, strict=True):
        assert torch.equal(p, q)
    batch = [best_in_span([p[i : i + 1] for p in points], [g[i : i + 1] for g in gradients], 2.0)[0] for i in range(3)]
    torch.testing.assert_close(torch.cat(batch), plain[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eps", [0.05, 0.5, 3.0])
def test_ten_gradients_reach_the_worst_case_of_a_linear_estimator(problem: Linear, eps: float) -> None:
    """Nearer than as many plain steps."""
    plain, found = (
        pgd(problem.estimator, problem.operator, problem.x, problem.b, eps=eps, n_iter=10, schedule="cosine", history=k)
        for k in (0, 4)
    )
    assert found.grad_evals == 10
    for i in range(3):
        best = problem.worst_case(i, eps)
        assert 0.999 * best <= float(found.loss[i]) <= best * (1 + 1e-4)
        assert best - float(found.loss[i]) <= best - float(plain.loss[i]) + 1e-5 * best


def test_a_long_history_of_a_quadratic_is_exact() -> None:
    """In double precision, with as many gradients as J has rows, and no step at the end."""
    problem = Quadratic()
    xi, loss = PGD(n_iter=14, schedule="cosine", history=14).ascend(problem, torch.zeros(3, 1, 4, 6).double(), 2.0)
    for i in range(3):
        exact = worst_case(problem.jacobian[i].numpy(), problem.r[i].numpy(), 2.0)
        assert float(loss[i]) == pytest.approx(exact, rel=1e-6)
    torch.testing.assert_close(problem.value(xi), loss)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_found_in_the_loss(bad: float) -> None:
    """In one image of three, from the third gradient on."""

    class Broken(Quadratic):
        calls = 0

        def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
            loss, gradient = super().value_and_gradient(xi)
            self.calls += 1
            if self.calls > 2:
                loss[1] = gradient[1] = bad
            return loss, gradient

    with pytest.raises(NotFiniteError, match=r"positions \[1\]"):
        PGD(n_iter=6, schedule="cosine", history=3).search(Broken(), torch.zeros(3, 1, 4, 6).double(), eps=2.0)


def test_a_zero_gradient_moves_nothing() -> None:
    class Flat(Quadratic):
        def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
            return torch.ones(3).double(), torch.zeros_like(xi)

        def value(self, xi: Tensor) -> Tensor:
            return torch.ones(3).double()

    like = torch.zeros(3, 1, 4, 6).double()
    search = PGD(n_iter=6, schedule="cosine", history=3, init="sphere")
    found = search.search(Flat(), like, eps=2.0, seed=1)
    torch.testing.assert_close(found.xi, on_sphere(like, 2.0, 1, range(3), 0))


def test_history_is_no_negative_number() -> None:
    with pytest.raises(ValueError, match="history=-1"):
        PGD(n_iter=3, history=-1)
