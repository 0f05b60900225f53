"""Total-variation denoising against closed forms, an independent solver and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from invsmooth.attacks import pgd
from invsmooth.core.errors import NoConstant, NotConverged
from invsmooth.estimators import TV, tv
from invsmooth.estimators.probe import probe
from invsmooth.metrics import psnr
from invsmooth.operators import BlockGaussian, Identity
from tests.estimators.lipschitz_conformance import images, noise

LAM = 0.05
EXACT = TV(LAM, tolerance=1e-6, max_iter=100_000)


@pytest.fixture(scope="module")
def noisy() -> Tensor:
    """Three images of 12 × 10 pixels."""
    return images((12, 10)) + 0.06 * noise((3, 1, 12, 10), 1)


@pytest.fixture(scope="module")
def solved(noisy: Tensor) -> Tensor:
    return EXACT(noisy, Identity())


def test_two_levels_approach_each_other() -> None:
    """m columns at a, k at b > a: each row moves to a + lam/m, b - lam/k, until they meet at their mean."""
    m, k, a, b = 3, 5, 0.2, 0.7
    y = torch.cat([torch.full((1, 1, 4, m), a), torch.full((1, 1, 4, k), b)], dim=3).double()
    x = EXACT(y, Identity())
    expected = torch.cat([torch.full((1, 1, 4, m), a + LAM / m), torch.full((1, 1, 4, k), b - LAM / k)], dim=3)
    torch.testing.assert_close(x, expected.double(), atol=1e-6, rtol=0)
    met = TV(2.0, tolerance=1e-6, max_iter=100_000)(y, Identity())
    torch.testing.assert_close(met, y.mean().expand_as(y), atol=1e-6, rtol=0)


def test_flat_images_stay() -> None:
    y = torch.full((2, 1, 6, 7), 0.3)
    assert torch.equal(TV()(y, Identity()), y)


def test_equals_an_independent_solver(noisy: Tensor, solved: Tensor) -> None:
    for y, x in zip(noisy[:, 0].numpy(), solved[:, 0].numpy(), strict=True):
        other = denoise_tv_chambolle(y, weight=LAM, eps=1e-12, max_num_iter=5_000)
        assert np.linalg.norm(other - x) < 1e-3
        assert np.linalg.norm(y - x) > 0.05


def test_gap_is_primal_minus_dual_and_bounds_the_distance(noisy: Tensor, solved: Tensor) -> None:
    p = noise((3, 2, 12, 10), 4)
    p = LAM * p / p.square().sum(1, keepdim=True).sqrt().clamp_min(1)
    x = noisy - tv.adjoint(p)
    down, right = np.zeros((2, 3, 12, 10))
    down[:, :-1], right[:, :, :-1] = np.diff(x[:, 0].numpy(), axis=1), np.diff(x[:, 0].numpy(), axis=2)
    primal = (x - noisy).square().sum((1, 2, 3)) / 2 + LAM * torch.from_numpy(np.hypot(down, right).sum((1, 2)))
    dual = noisy.square().sum((1, 2, 3)) / 2 - x.square().sum((1, 2, 3)) / 2
    gap = TV(LAM).gap(x, p)
    torch.testing.assert_close(gap, primal - dual)
    assert ((x - solved).square().sum((1, 2, 3)) <= 2 * gap).all()


def test_differences_and_adjoint() -> None:
    x, p = noise((2, 1, 5, 7), 0), noise((2, 2, 5, 7), 1)
    torch.testing.assert_close((tv.differences(x) * p).sum(), (x * tv.adjoint(p)).sum())
    dense = tv.differences(torch.eye(35, dtype=torch.float64).view(35, 1, 5, 7)).flatten(1)
    assert 6 < torch.linalg.matrix_norm(dense, 2) ** 2 <= 8


@pytest.mark.parametrize("tolerance", [1.0, 0.1, 0.01])
def test_lies_within_its_tolerance(noisy: Tensor, solved: Tensor, tolerance: float) -> None:
    f = TV(LAM, tolerance)
    distance = (f(noisy, Identity()) - solved).flatten(1).norm(dim=1)
    assert distance.max() <= tolerance + 1e-6
    assert tolerance < f.inexactness(Identity(), noisy, 1.0) < tolerance + 1e-4


def test_stops_by_the_gap(noisy: Tensor) -> None:
    """It starts at x = y, p = 0, where the gap is lam TV(y)."""
    y = noisy[:1]
    bound = float((2 * LAM * tv.differences(y).square().sum(1).sqrt().sum()).sqrt())
    assert torch.equal(TV(LAM, bound * 1.001)(y, Identity()), y)
    assert not torch.equal(TV(LAM, bound * 0.999)(y, Identity()), y)


def test_gradient_and_jvp_against_finite_differences(noisy: Tensor) -> None:
    """And near them at the default tolerance, in float32."""
    g, h = noise(noisy.shape, 7), 1e-4
    differences = (EXACT(noisy + h * g, Identity()) - EXACT(noisy - h * g, Identity())) / (2 * h)
    for f, dtype, near in ((EXACT, torch.float64, 0.03), (TV(LAM), torch.float32, 0.2)):
        y = noisy.detach().to(dtype, copy=True).requires_grad_()
        (back,) = torch.autograd.grad(f(y, Identity()), y, g.to(dtype))
        _, forward = torch.func.jvp(lambda y, f=f: f(y, Identity()), (y.detach(),), (g.to(dtype),))
        for found in (back, forward):
            assert found.dtype == dtype
            assert (found - differences).norm() < near * differences.norm()


def test_images_do_not_wait_for_each_other(noisy: Tensor) -> None:
    """Bit for bit in a batch as alone, in float64 whatever the type of y."""
    f = TV(LAM)
    together = f(noisy, Identity())
    for k in range(3):
        assert torch.equal(f(noisy[k : k + 1], Identity())[0], together[k])
    single = f(noisy.float(), Identity())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), f(noisy.float().double(), Identity()), atol=1e-7, rtol=0)


def test_denoises_and_is_attacked() -> None:
    x = images((24, 24))[:1].float()
    b = 15 / 255 * noise(x.shape, 1).float()
    f, operator = TV(), Identity()
    assert psnr(f(x + b, operator), x) > psnr(x + b, x) + 3
    found = pgd(f, operator, x, b, eps=0.3, n_iter=5)
    error = (f(x + b, operator) - x).norm()
    attacked = (f(x + found.xi + b, operator) - x).norm()
    assert error + 0.05 < attacked <= error + 0.3 + 0.02


def test_is_probed() -> None:
    size = (1, 9, 8)
    assert probe(TV(), Identity(), size) == probe(TV(), Identity(), size) != probe(TV(0.1), Identity(), size)


def test_errors(noisy: Tensor) -> None:
    with pytest.raises(NotConverged, match=r"3 iterations: sqrt\(2 · duality gap\) is [01]\.\d+ where 0.01"):
        TV(LAM, max_iter=3)(noisy, Identity())
    with pytest.raises(NotConverged, match="is nan"):
        TV()(torch.full((1, 1, 4, 4), torch.nan), Identity())
    for call in (TV().lipschitz, lambda o: TV()(o.A(noisy), o), lambda o: TV().inexactness(o, noisy, 1.0)):
        with pytest.raises(NoConstant, match="tv is a denoiser"):
            call(BlockGaussian(0.5, block=2).double())
    for bad in ({"lam": 0.0}, {"tolerance": 0.0}, {"max_iter": 0}):
        with pytest.raises(ValueError, match=str(next(iter(bad)))):
            TV(**bad)


def test_each_channel_is_solved_to_the_tolerance() -> None:
    """So three channels together to sqrt(3) times it."""
    found = TV(0.05, tolerance=0.01).inexactness(Identity(), torch.zeros(1, 3, 8, 8), 0.0)
    assert found >= 3**0.5 * 0.01
