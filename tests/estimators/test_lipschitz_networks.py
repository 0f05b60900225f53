"""LipNet and NullSpace: their constants against dense Jacobians and norms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.core.errors import NoConstant, PremiseError
from invsmooth.estimators import LipNet, NullSpace, lipnet, null_space
from invsmooth.lipschitz import steps
from invsmooth.lipschitz.constants import in_float64, lipschitz_constant
from invsmooth.operators import BlockGaussian, Identity


def disturbed(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """With weights away from their start, so that all of them have an effect."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return module


def largest_gain(f: torch.nn.Module, operator: torch.nn.Module, y: Tensor) -> float:
    """The largest singular value of the dense Jacobian at y."""
    jacobian = torch.autograd.functional.jacobian(lambda v: f(v, operator), y)
    assert isinstance(jacobian, Tensor)
    return float(torch.linalg.matrix_norm(jacobian.reshape(-1, y.numel()), 2))


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("constant", [1.0, 1.7, None])
def test_lipnet_keeps_its_constant(constant: float | None, group: int) -> None:
    net = in_float64(disturbed(LipNet(3, 4, 3, constant=constant, group=group)))
    declared, found = net.lipschitz(Identity()), []
    for scale in (0.02, 0.2, 1.0):
        found.append(largest_gain(net, Identity(), 0.5 + scale * torch.randn(1, 1, 7, 7).double()))
    assert 0.7 <= max(found) <= declared
    if constant is None:
        assert declared > 1
        assert net.lipschitz_tensor(Identity()).requires_grad is False
    else:
        assert declared == pytest.approx(constant, rel=1e-9)
        assert declared >= constant


def test_the_learned_constant_has_a_gradient() -> None:
    net = LipNet(2, 2, 3, constant=None)
    net.lipschitz_tensor(Identity()).backward()
    assert net.log_constant.grad is not None
    assert float(net.log_constant.grad) == pytest.approx(0.2, rel=1e-5)  # d/ds (1 + exp(s)) at exp(s) = 0.2


def test_the_shares_of_the_steps_make_the_constant() -> None:
    net = disturbed(LipNet(4, 2, 3, constant=2.5))
    assert isinstance(net, LipNet)
    assert net.growths().prod().item() == pytest.approx(2.5)
    assert bool((net.growths() >= 1).all())


def test_a_denoiser_refuses_other_operators() -> None:
    for f in (LipNet(1, 1, 3).lipschitz, lambda op: LipNet(1, 1, 3)(torch.zeros(1, 4, 1, 1), op)):
        with pytest.raises(NoConstant, match=r"lipnet is a denoiser.*not for BlockGaussian"):
            f(BlockGaussian(0.5, 3))


@pytest.mark.parametrize(("t", "squared"), list(itertools.product([0.1, 0.5, 1.0], [0.3, 1.0, 1.8])))
def test_the_term_of_a_gradient_step(t: float, squared: float) -> None:
    """|(I - t A^T A) dx + t A^T dy|² <= |dx|² + t/(2 - t |A|²) |dy|², for any A, with equality for some dx, dy."""
    a = np.random.default_rng(0).standard_normal((4, 7))
    a *= np.sqrt(squared) / np.linalg.norm(a, 2)
    q = t / (2 - t * squared)
    both = np.hstack([np.eye(7) - t * a.T @ a, t * a.T / np.sqrt(q)])
    assert np.linalg.norm(both, 2) <= 1 + 1e-12
    tight = np.hstack([np.eye(7) - t * a.T @ a, t * a.T / np.sqrt(0.98 * q)])
    assert np.linalg.norm(tight, 2) > 1


def fitted(ratio: float, block: int = 4, **changes: object) -> tuple[NullSpace, BlockGaussian]:
    net = NullSpace([ratio], block, n_phases=3, filters=3, kernel=3, limit=2.0, **changes)
    operator = BlockGaussian(ratio, block)
    torch.manual_seed(1)
    images = torch.randn(400, 1, block, 1).cumsum(2).expand(-1, -1, -1, block) * 0.1 + 0.5
    net.fit(images + 0.02 * torch.randn(400, 1, block, block), [operator], 0.01)
    with torch.no_grad():
        net.step_sizes.copy_(torch.tensor([1.0, -0.5]))
    return net, operator


@pytest.mark.parametrize("ratio", [0.25, 0.5])
def test_null_space_keeps_its_constant(ratio: float) -> None:
    net, operator = fitted(ratio)
    net, operator = in_float64(net), in_float64(operator)  # type: ignore[assignment]
    declared, found = net.lipschitz(operator), 0.0
    for k in range(4):
        y = operator.A(torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(k)).double())
        found = max(found, largest_gain(net, operator, y))
    assert 0.5 * declared <= found <= declared
    # By hand: the norm of W and the terms of the two steps.
    w = torch.linalg.matrix_norm(net.start.map(operator).weight.flatten(1), 2)
    terms = sum(t / (2 - t) for t in torch.sigmoid(torch.tensor([1.0, -0.5])).tolist())
    assert declared == pytest.approx(float((w.square() + terms).sqrt()), rel=1e-5)
    signal = lipschitz_constant(net, operator, "signal")
    phi = operator.phi.flatten(1)
    of_x = torch.linalg.matrix_norm(net.start.map(operator).weight.flatten(1).T @ phi, 2)
    assert signal == pytest.approx(float((of_x.square() + terms).sqrt()), rel=1e-5)


def test_null_space_is_for_its_ratios_and_for_small_norms() -> None:
    net, operator = fitted(0.5)
    with pytest.raises(PremiseError, match=r"ratios \[0.5\], and not for 0.25"):
        net.lipschitz(BlockGaussian(0.25, 4))
    with pytest.raises(PremiseError, match=r"ratios \[0.5\], and not for 1.0"):
        net(torch.zeros(1, 1, 8, 8), Identity())
    large = BlockGaussian(0.5, 4, matrix=2 * operator.phi.flatten(1))
    with pytest.raises(NoConstant, match=r"\|\|A\|\| = 2"):
        net.lipschitz(large)


def test_projection_keeps_the_limit() -> None:
    net, operator = fitted(0.5)
    with torch.no_grad():
        net.start.map(operator).weight.mul_(5)
    assert net.start.map(operator).norm() > 2.5
    net.project()
    assert net.start.map(operator).norm() == pytest.approx(2, rel=1e-5)


@torch.no_grad()
def test_rounding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, with its unit roundoff in the bound."""
    for module in (steps, null_space, lipnet):
        if hasattr(module, "UNIT"):
            monkeypatch.setattr(module, "UNIT", 2.0**-24)
    monkeypatch.setattr(lipnet, "ROUNDOFF", 2.0**-23)
    net = disturbed(LipNet(3, 8, 5, constant=1.5))
    y = torch.rand(1, 1, 32, 32)
    off = float((net(y, Identity()).double() - in_float64(net)(y.double(), Identity())).norm())
    assert 0 < off <= net.inexactness(Identity(), y, 0.0) < 1
    unrolled, operator = fitted(0.5)
    y = operator.A(torch.rand(1, 1, 16, 16))
    exact = in_float64(unrolled)(y.double(), in_float64(operator))
    off = float((unrolled(y, operator).double() - exact).norm())
    assert 0 < off <= unrolled.inexactness(operator, y, 0.0) < 1
