"""CRR and Equilibrium against closed forms, long runs of another solver, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from invsmooth.attacks import pgd
from invsmooth.core.errors import NoConstant, NotConverged
from invsmooth.estimators import CRR, Equilibrium
from invsmooth.estimators.checkpoint import check_reloads
from invsmooth.estimators.probe import probe
from invsmooth.estimators.variational import Variational
from invsmooth.lipschitz.constants import in_float64, lipschitz_constant, training_constant
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity, LinearOperator
from tests.estimators.lipschitz_conformance import images, noise
from tests.training.toys import SETTINGS, alone

SIZE = (12, 12)
SMALL = {"n_filters": 3, "kernel_size": 3}
MATRIX = 0.25 * noise((5, 16), 9).float()
CASES = [("crr", "identity"), ("equilibrium", "identity"), ("equilibrium", "block")]


def make(kind: str, operator: str, **options: float) -> tuple[Variational, LinearOperator]:
    """Small, in float64; the block matrix has no orthonormal rows."""
    torch.manual_seed(0)
    more = SMALL | {"strength": 3.0, "threshold": 0.05, "tolerance": 1e-9} | options
    f = CRR(**more) if kind == "crr" else Equilibrium(**{"mu": 0.1} | more)
    a = Identity() if operator == "identity" else BlockGaussian(5 / 16, block=4, matrix=MATRIX)
    return f.double(), a.double()


def measured(operator: LinearOperator) -> Tensor:
    y = operator.A(images(SIZE))
    return y + 0.06 * noise(y.shape, 1)


def objective(f: Variational, operator: LinearOperator, x: Tensor, y: Tensor) -> Tensor:
    """What x_hat minimises, written down anew."""
    r = f.regulariser
    filters = r.filters - r.filters.mean((2, 3), keepdim=True)
    # ||W||, of the full convolution on the infinite plane: its symbol on a fine grid.
    norm = torch.fft.fft2(filters, s=(512, 512)).abs().square().sum(0).max().sqrt()
    response = F.conv2d(x, filters / norm)
    tau = r.log_thresholds.exp().expand_as(response)
    huber = torch.where(response.abs() <= tau, response.square() / 2, tau * (response.abs() - tau / 2))
    fit = (operator.A(x) - y).square().sum() / 2
    return fit + r.log_strength.exp() * huber.sum() + f.mu() * (x - f.centre).square().sum() / 2


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_is_the_minimiser_of_its_function(kind: str, name: str) -> None:
    """The gradient by autograd vanishes (but for the difference of two bounds of ||W||), also after the weights moved."""
    f, operator = make(kind, name)
    y = measured(operator)
    with torch.no_grad():
        f.regulariser.filters += 0.1 * noise(f.regulariser.filters.shape, 3)
        f.regulariser.log_thresholds += 0.5 * noise(f.regulariser.log_thresholds.shape, 4)
    x = f(y, operator).detach().requires_grad_()
    (at_x,) = torch.autograd.grad(objective(f, operator, x, y), x)
    start = operator.A_adjoint(y).requires_grad_()
    (at_start,) = torch.autograd.grad(objective(f, operator, start, y), start)
    assert at_x.norm() < 0.02 * at_start.norm()


@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-4])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_lies_within_its_tolerance(kind: str, name: str, tolerance: float) -> None:
    f, operator = make(kind, name)
    y = measured(operator)
    exact = f(y, operator)
    f.tolerance = tolerance
    rough = f(y, operator)
    distance = (rough - exact).flatten(1).norm(dim=1).max()
    assert 0 < distance <= tolerance
    assert tolerance < f.inexactness(operator, y, 1.0) < tolerance + 1e-5


def test_the_exact_solution_is_that_of_plain_gradient_descent() -> None:
    """5000 steps without momentum, restarts or a stopping rule."""
    f, operator = make("equilibrium", "block")
    y = measured(operator)[:1]
    x, parts = torch.zeros(1, 1, *SIZE, dtype=torch.float64), [p.detach() for p in f.regulariser.parts(torch.float64)]
    w, tau, strength = parts
    step = 1 / (np.linalg.norm(MATRIX, 2) ** 2 + 3.0 + 0.1)
    for _ in range(5000):
        penalty = strength * F.conv_transpose2d(F.conv2d(x, w).clamp(-tau, tau), w)
        x = x - step * (operator.A_adjoint(operator.A(x) - y) + penalty + 0.1 * (x - 0.5))
    torch.testing.assert_close(f(y, operator), x, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["identity", "block"])
def test_without_a_regulariser_it_is_ridge_regression(name: str) -> None:
    """(A^T A + mu)^{-1} (A^T y + mu · centre), dense."""
    f, operator = make("equilibrium", name, strength=1e-300, centre=0.3)
    y, n = measured(operator), math.prod(SIZE)
    a = operator.A(torch.eye(n, dtype=torch.float64).view(n, 1, *SIZE)).flatten(1).T
    rhs = a.T @ y.flatten(1).T + 0.1 * 0.3
    expected = torch.linalg.solve(a.T @ a + 0.1 * torch.eye(n, dtype=torch.float64), rhs).T
    torch.testing.assert_close(f(y, operator).flatten(1), expected, atol=1e-8, rtol=0)


def test_flat_images_stay() -> None:
    f, operator = make("crr", "identity")
    y = torch.full((1, 1, *SIZE), 0.7, dtype=torch.float64)
    torch.testing.assert_close(f(y, operator), y, atol=1e-12, rtol=0)


def difference(function, where: Tensor, direction: Tensor, h: float = 1e-5) -> Tensor:
    kept = where.detach().clone()
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            where.copy_(kept + sign * h * direction)
            values.append(function())
    with torch.no_grad():
        where.copy_(kept)
    return (values[0] - values[1]) / (2 * h)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gradients_against_finite_differences(kind: str, name: str) -> None:
    """In y, backward and forward, and in every weight."""
    f, operator = make(kind, name)
    y, g = measured(operator).requires_grad_(), noise((3, 1, *SIZE), 5)
    weights = [y, *f.parameters()]
    found = torch.autograd.grad((f(y, operator) * g).sum(), weights)
    for k, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
        v = noise(weight.shape, 10 + k)
        expected = difference(lambda: (f(y, operator) * g).sum(), weight, v)
        torch.testing.assert_close((gradient * v).sum(), expected, rtol=1e-5, atol=1e-7)
    v = noise(y.shape, 6)
    _, product = torch.func.jvp(lambda y: f(y, operator), (y.detach(),), (v,))
    expected = difference(lambda: f(y, operator), y, v)
    assert (product.detach() - expected).norm() < 3e-5 * expected.norm()


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gradients_of_jacobian_products_against_finite_differences(kind: str, name: str) -> None:
    """What algo=jcb needs: the weights' gradient of J v (forward), and of J^T v (backward)."""
    f, operator = make(kind, name)
    y, v = measured(operator), 0.1 * noise((3, 1, *SIZE), 5)
    dy = operator.A(v)

    def forward() -> Tensor:
        return (torch.func.jvp(lambda y: f(y, operator), (y,), (dy,))[1] * v).sum()

    def backward() -> Tensor:
        with torch.enable_grad():
            point = y.clone().requires_grad_()
            return (torch.autograd.grad((f(point, operator) * v).sum(), point, create_graph=True)[0] * dy).sum()

    for product in (forward, backward):
        weights = [p for name, p in f.named_parameters() if "thresholds" not in name]  # J does not depend on these
        for weight, gradient in zip(weights, torch.autograd.grad(product(), weights), strict=True):
            d = noise(weight.shape, 8)
            expected = difference(lambda p=product: p().detach(), weight, d, 1e-6)
            torch.testing.assert_close((gradient * d).sum(), expected, rtol=1e-3, atol=1e-6)


def test_constants() -> None:
    """1; 1/(1 + mu); t/(t² + mu) at t = min(sqrt(mu), ||A||)."""
    crr, identity = make("crr", "identity")
    assert lipschitz_constant(crr, identity) == 1.0
    block = make("equilibrium", "block")[1]
    norm = float(np.linalg.norm(MATRIX, 2))
    assert 0.5 < norm < 4
    for mu in (0.01, 0.5, 100.0):
        f, _ = make("equilibrium", "block", mu=mu)
        assert lipschitz_constant(f, identity) == pytest.approx(1 / (1 + mu), rel=1e-6)
        expected = 1 / (2 * math.sqrt(mu)) if math.sqrt(mu) < norm else norm / (norm**2 + mu)
        assert lipschitz_constant(f, block, "measurement") == pytest.approx(expected, rel=1e-6)
        assert lipschitz_constant(f, block, "signal") == pytest.approx(expected * norm, rel=1e-6)
        for operator in (identity, block):
            (gradient,) = torch.autograd.grad(training_constant(f, operator), f.raw_mu)
            one = torch.ones((), dtype=torch.float64)
            slope = difference(lambda f=f, o=operator: training_constant(f, o), f.raw_mu, one, 1e-4)
            torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-10)


def test_the_constant_is_reached_by_a_convex_function() -> None:
    """R that leaves x one direction, at the angle to the row of A where sqrt(mu) = ||A|| cos: the docstring's claim."""
    mu, norm = 0.04, 1.5
    cos = math.sqrt(mu) / norm
    across = np.array([math.sqrt(1 - cos**2), -cos])
    a = np.array([[norm, 0.0]])
    b = mu * np.eye(2) + 1e9 * np.outer(across, across)
    assert np.linalg.norm(np.linalg.solve(a.T @ a + b, a.T), 2) == pytest.approx(1 / (2 * math.sqrt(mu)), rel=1e-6)


def test_the_constant_is_that_of_the_copy_in_float64() -> None:
    f = Equilibrium(0.0123, **SMALL)
    assert f.lipschitz(BlockGaussian(0.5, block=4)) == in_float64(f).lipschitz(BlockGaussian(0.5, block=4))


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_images_do_not_wait_for_each_other(kind: str, name: str) -> None:
    f, operator = make(kind, name, tolerance=1e-3)
    y = measured(operator)
    together = f(y, operator)
    for k in range(3):
        torch.testing.assert_close(f(y[k : k + 1], operator)[0], together[k], atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_float32_and_autocast_are_near_float64(kind: str, name: str) -> None:
    f, operator = make(kind, name)
    y = measured(operator)
    exact = f(y, operator)
    f, operator = f.float(), operator.float()
    with torch.autocast("cpu", torch.bfloat16):
        x = f(y.float(), operator)
    assert x.dtype == torch.float32
    assert (x - exact).norm() < 2e-4 * exact.norm()


@pytest.mark.parametrize("algorithm", SETTINGS)
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_algorithm_gets_gradients(kind: str, name: str, algorithm: str) -> None:
    f, operator = make(kind, name, tolerance=1e-3)
    f, operator = f.float(), operator.float()
    trained = alone(algorithm, f, {"train_operators": [operator]}, **SETTINGS[algorithm])
    x = images(SIZE).float()
    b = torch.zeros_like(operator.A(x))
    assert trained.accumulate_gradients(x, b, operator, 0).isfinite()
    for weight in f.parameters():
        assert weight.grad is not None
        assert weight.grad.isfinite().all()
        assert weight.grad.abs().max() > 0


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_learns_and_is_attacked(kind: str, name: str) -> None:
    f, operator = make(kind, name, tolerance=1e-3)
    y, x = measured(operator).float(), images(SIZE).float()
    f, operator = f.float(), operator.float()
    optimizer = torch.optim.Adam(f.parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        loss = mse(f(y, operator), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]
    found = pgd(f, operator, x, y - operator.A(x), eps=0.3, n_iter=5)
    with torch.no_grad():
        attacked, clean = (f(v, operator) for v in (y + operator.A(found.xi), y))
    assert ((attacked - x).flatten(1).norm(dim=1) > (clean - x).flatten(1).norm(dim=1) + 0.01).all()
    moved = (attacked - clean).flatten(1).norm(dim=1).max()
    assert moved <= 0.3 * lipschitz_constant(f, operator) + 0.01


@pytest.mark.parametrize("kind", [CRR, Equilibrium])
def test_reloads_and_is_probed(kind: type[Variational]) -> None:
    f, description = kind(**SMALL), {"_target_": f"invsmooth.estimators.{kind.__name__}", **SMALL}
    check_reloads(description, f, ())
    assert probe(f, Identity(), (1, 16, 16)) == probe(f, Identity(), (1, 16, 16))
    assert f.state_dict().keys() >= {"regulariser.filters", "regulariser.log_strength", "regulariser.log_thresholds"}


def test_errors() -> None:
    f, operator = make("crr", "identity", max_iter=2)
    y = measured(operator)
    with pytest.raises(NotConverged, match=r"CRR did not converge in 2 iterations: the gradient's norm is 0\.\d+"):
        f(y, operator)
    with pytest.raises(NotConverged, match="norm is nan"):
        make("crr", "identity")[0](torch.full_like(y, torch.nan), operator)
    block = make("equilibrium", "block")[1]
    for call in (CRR().lipschitz, lambda o: CRR()(o.A(y), o)):
        with pytest.raises(NoConstant, match="crr is a denoiser"):
            call(block)
    for mu in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match=f"mu={mu} has to be"):
            Equilibrium(mu)
    broken, _ = make("equilibrium", "block")
    torch.nn.init.constant_(broken.raw_mu, -1000.0)
    for call in (broken.lipschitz, lambda o: broken(o.A(images(SIZE)), o)):
        with pytest.raises(NoConstant, match=r"mu has become 0\.0"):
            call(block)
    with pytest.raises(ValueError, match="smaller than the filters: 7"):
        CRR()(torch.rand(1, 1, 6, 9), Identity())
    for bad in ({"kernel_size": 4}, {"n_filters": 0}, {"strength": 0.0}, {"threshold": -1.0}, {"tolerance": 0.0}):
        with pytest.raises(ValueError, match=str(next(iter(bad)))):
            CRR(**bad)
