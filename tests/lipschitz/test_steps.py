"""A step of a potential: its Jacobian, its constant, and the bound of its rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d
from torch import Tensor

from invsmooth.lipschitz import steps
from invsmooth.lipschitz.norms import conv_norm
from invsmooth.lipschitz.steps import PotentialStep


def random_step(
    seed: int, filters: int = 3, kernel: int = 3, s: float = 0.9, slope: float = 0.0, group: int = 1
) -> PotentialStep:
    torch.manual_seed(seed)
    step = PotentialStep(filters, kernel, group).double()
    with torch.no_grad():
        step.step.fill_(np.log(s / (1 - s)))
        step.slope.normal_(slope)
        step.range.normal_()
        step.log_threshold.normal_(-1, 0.5)
    return step


def jacobian(step: PotentialStep, x: Tensor, growth: float) -> Tensor:
    n = x.numel()
    found = torch.autograd.functional.jacobian(lambda v: step(v, growth), x)
    assert isinstance(found, Tensor)
    return found.reshape(n, n)


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("growth", [1.0, 1.3, 4.0])
def test_the_jacobian_is_symmetric_with_the_eigenvalues_stated(growth: float, group: int) -> None:
    s, largest = 0.9, 0.0
    for seed in range(12):
        step = random_step(seed, s=s, slope=-3.0, group=group)  # c near -a
        for scale in (0.05, 0.5, 1.5):  # all of phi's pieces
            j = jacobian(step, scale * torch.randn(1, 1, 6, 7).double(), growth)
            assert torch.allclose(j, j.T, atol=1e-12)
            eigenvalues = torch.linalg.eigvalsh(j)
            assert eigenvalues.max() <= growth + 1e-12
            assert eigenvalues.min() >= 1 - 2 * s - 1e-12
            largest = max(largest, float(eigenvalues.max()))
    assert largest >= 1 + 0.2 * (growth - 1) - 1e-12  # the room is used: growth = 1 for all would be a mistake, too


def test_the_value_is_the_formula() -> None:
    step, growth, s, group = random_step(0, filters=4, group=2), 1.4, 0.9, 2
    x = 2 * torch.rand(1, 1, 8, 9).double() - 1
    weight, threshold = step.weight.detach().numpy()[:, 0], step.log_threshold.detach().exp().flatten().numpy()
    a = (growth - 1) / (2 * s)
    c = (1 + a) / (1 + np.exp(-step.slope.item())) - a
    assert -a < c < 1
    r = 1 + 2 * np.exp(step.range.item())
    total = np.zeros((8, 9))
    for g, t in enumerate(threshold):
        own = weight[g :: len(weight) // group]
        v = np.stack([correlate2d(x[0, 0].numpy(), w, mode="same") for w in own])
        norm = np.sqrt((v**2).sum(0))
        h = np.where(norm <= t, norm, t + c * (np.minimum(norm, r * t) - t))
        total += sum(convolve2d(h * u / norm, w, mode="same") for u, w in zip(v, own, strict=True))
    expected = x[0, 0].numpy() - 2 * s / conv_norm(step.weight) ** 2 * total
    assert np.allclose(step(x, growth).detach().numpy()[0, 0], expected, atol=1e-12)


@torch.no_grad()
def test_rounding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, whose rounding float64 shows: the bound for its unit roundoff holds, and is no million times too large."""
    monkeypatch.setattr(steps, "UNIT", 2.0**-24)
    for seed, growth, group in ((0, 1.0, 1), (1, 1.5, 1), (2, 1.0, 4)):
        step = random_step(seed, filters=16, kernel=7, group=group)
        x = torch.rand(1, 1, 32, 32)
        with torch.no_grad():
            exact = step(x.double(), growth)
            in_float32 = random_step(seed, filters=16, kernel=7, group=group).float()(x, growth)
        bound = step.rounding(float(x.norm()), growth)
        assert 0 < float((in_float32 - exact).norm()) <= bound < 1


@pytest.mark.parametrize(("filters", "kernel"), [(0, 3), (4, 2), (4, 1)])
def test_sizes_are_checked(filters: int, kernel: int) -> None:
    with pytest.raises(ValueError, match=f"filters={filters}.*kernel={kernel}"):
        PotentialStep(filters, kernel)


@pytest.mark.parametrize("group", [0, 3])
def test_a_group_divides_the_filters(group: int) -> None:
    with pytest.raises(ValueError, match=f"group={group} has to be a divisor of filters=4"):
        PotentialStep(4, 3, group)
