"""``algo=certified`` against its formula, finite differences and closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from invsmooth.core.errors import ConfigError
from invsmooth.estimators import DPDNN, ISTANetPP, LipNet
from invsmooth.operators import BlockGaussian, Identity, LinearOperator
from invsmooth.operators.base import Operator
from invsmooth.pipeline.build import build_module
from tests.training.test_pairs import composed
from tests.training.toys import alone


class Scaled(nn.Module):
    """f(y) = a A^T y, whose constant is |a| where ||A^T|| = 1; in training with its gradient, or as a number."""

    def __init__(self, a: float, differentiable: bool = True) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))
        if differentiable:
            self.lipschitz_tensor = lambda operator: self.a.abs()

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        return self.a * operator.A_adjoint(y)

    def lipschitz(self, operator: Operator) -> float:
        return abs(float(self.a.detach()))


def batch(operator: LinearOperator, n: int = 5, side: int = 8) -> tuple[Tensor, Tensor]:
    """Patches of different brightness, so that their errors differ, and their noise; float64."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(n, 1, side, side, generator=generator, dtype=torch.float64)
    x = x * torch.linspace(0.2, 1, n, dtype=torch.float64).view(-1, 1, 1, 1)
    y = operator.A(x)
    return x, 0.1 * torch.randn(y.shape, generator=generator, dtype=torch.float64)


def trained_by(estimator: nn.Module, operator: LinearOperator, eps: float) -> Any:
    return alone("Certified", estimator, {"train_operators": [operator]}, eps=eps)


def by_hand(a: float, eps: float, x: Tensor, y: Tensor, norm: float = 1.0) -> float:
    """The mean over the patches of (||a y - x|| + |a| ||A|| eps)²/n; y: A^T of the measurements."""
    residual = (a * y - x).flatten(1).numpy()
    return float(np.mean((np.linalg.norm(residual, axis=1) + abs(a) * norm * eps) ** 2) / residual.shape[1])


def gradient(estimator: Scaled, operator: LinearOperator, eps: float) -> tuple[float, float]:
    """Loss and its derivative in a."""
    x, b = batch(operator)
    loss = trained_by(estimator, operator, eps).accumulate_gradients(x, b, operator, 0)
    assert estimator.a.grad is not None
    return float(loss), float(estimator.a.grad)


@pytest.mark.parametrize("a", [0.7, -0.4])
@pytest.mark.parametrize("operator", [Identity(), BlockGaussian(0.5, block=4).double()], ids=["identity", "blocks"])
def test_loss_and_gradient_by_hand(operator: LinearOperator, a: float) -> None:
    """The constant is that of x -> f(Ax + b), with ||A||, and its gradient flows."""
    (x, b), eps, norm = batch(operator), 0.3, operator.norm()  # type: ignore[operator]
    y = operator.A_adjoint(operator.A(x) + b)
    loss, slope = gradient(Scaled(a), operator, eps)
    assert loss == pytest.approx(by_hand(a, eps, x, y, norm), rel=1e-9)
    step = 1e-6
    difference = by_hand(a + step, eps, x, y, norm) - by_hand(a - step, eps, x, y, norm)
    assert slope == pytest.approx(difference / (2 * step), rel=1e-6)


def test_norm_of_the_operator_counts() -> None:
    """A = 3 I: an attack on the signal is three times as long in the measurement."""

    class Thrice(Identity):
        def A(self, x: Tensor) -> Tensor:
            return 3 * x

        def A_adjoint(self, y: Tensor) -> Tensor:
            return 3 * y

        def norm(self) -> float:
            return 3.0

    x, b = batch(Thrice())
    loss, _ = gradient(Scaled(0.2), Thrice(), 0.3)
    assert loss == pytest.approx(by_hand(0.2, 0.3, x, 9 * x + 3 * b, norm=3.0), rel=1e-9)


def test_a_constant_without_a_gradient_is_a_number() -> None:
    x, b = batch(Identity())
    loss, slope = gradient(Scaled(0.7, differentiable=False), Identity(), 0.3)
    assert loss == pytest.approx(by_hand(0.7, 0.3, x, x + b), rel=1e-6)  # the number is kept in float32
    errors = (0.7 * (x + b) - x).flatten(1).numpy()
    lengths = np.linalg.norm(errors, axis=1)
    along = np.sum(errors * (x + b).flatten(1).numpy(), axis=1) / lengths
    assert slope == pytest.approx(float(np.mean(2 * (lengths + 0.7 * 0.3) * along) / 64), rel=1e-6)
    assert slope != pytest.approx(gradient(Scaled(0.7), Identity(), 0.3)[1], rel=0.05)


def test_gradient_of_a_learned_constant_against_finite_differences() -> None:
    torch.manual_seed(0)
    net, (x, b) = LipNet(2, 3, 3, constant=None).double(), batch(Identity())
    trained_by(net, Identity(), 0.5).accumulate_gradients(x, b, Identity(), 0)
    found, step = float(net.log_constant.grad), 1e-5
    values = []
    for moved in (step, -step):
        with torch.no_grad():
            net.log_constant += moved
            error = (net(x + b, Identity()) - x).flatten(1).norm(dim=1).numpy()
            values.append(np.mean((error + (1 + math.exp(float(net.log_constant.detach()))) * 0.5) ** 2) / 64)
            net.log_constant -= moved
    assert found == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("eps", [0.1, 0.6])
def test_training_finds_the_minimiser(eps: float) -> None:
    """Of a convex function of the one weight a: less of it than the least squares take, and less the larger eps is."""
    operator = Identity()
    x, b = batch(operator)
    best = minimize_scalar(
        lambda a: by_hand(a, eps, x, x + b), bounds=(0, 2), method="bounded", options={"xatol": 1e-9}
    ).x
    least_squares = float(((x + b) * x).sum() / (x + b).square().sum())
    assert best < least_squares - 0.05 * eps
    net = Scaled(1.0)
    trained, optimizer = trained_by(net, operator, eps), torch.optim.SGD([net.a], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        trained.accumulate_gradients(x, b, operator, 0)
        optimizer.step()
    assert float(net.a.detach()) == pytest.approx(best, abs=1e-6)


def test_at_radius_0_it_is_ordinary_training() -> None:
    found = []
    for name, own in (("Certified", {"eps": 0.0}), ("Ord", {})):
        torch.manual_seed(0)
        net, (x, b) = LipNet(2, 3, 3).double(), batch(Identity())
        loss = alone(name, net, {"train_operators": [Identity()]}, **own).accumulate_gradients(x, b, Identity(), 0)
        found.append([loss, *(p.grad for p in net.steps.parameters())])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_without_an_error_the_gradient_is_finite() -> None:
    """A root has no derivative at 0. The constant alone is left to minimise: d/da (|a| eps)²/n = 2 a eps²/n."""
    net, x = Scaled(1.0), batch(Identity())[0]
    loss = trained_by(net, Identity(), 0.3).accumulate_gradients(x, torch.zeros_like(x), Identity(), 0)
    assert net.a.grad is not None
    assert float(loss) == pytest.approx(0.3**2 / 64, rel=1e-4)
    assert float(net.a.grad) == pytest.approx(2 * 0.3**2 / 64, rel=1e-4)


def test_needs_a_constant_before_any_work() -> None:
    for estimator in (DPDNN(1, 2), ISTANetPP(1, 2)):
        with pytest.raises(
            ConfigError, match=f"algo=certified needs a Lipschitz constant: .*{type(estimator).__name__}"
        ):
            alone("Certified", estimator, eps=0.1)
    with pytest.raises(ConfigError, match="lipnet is a denoiser"):
        alone("Certified", LipNet(1, 2, 3), eps=0.1)  # which is for A = I
    with pytest.raises(ValueError, match=r"eps=-1\.0 is not allowed"):
        trained_by(Scaled(1.0), Identity(), -1.0)


@pytest.mark.parametrize(("task", "side", "eps"), [("denoise_small", 40, 5), ("cs_small", 33, 1)])
def test_radius_of_the_config_is_that_of_a_patch(task: str, side: int, eps: float) -> None:
    cfg = composed(f"task={task}", "algo=certified", "estimator=lipnet", "operator=identity")
    assert cfg.algo.eps == pytest.approx(eps * side / 256)
    assert build_module(cfg, LipNet(1, 2, 3)).eps == cfg.algo.eps
