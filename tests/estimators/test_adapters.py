"""as_estimator: what takes other arguments becomes estimator(y, operator), or is refused."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import invsmooth
from invsmooth.certificates import certify
from invsmooth.core.errors import PremiseError
from invsmooth.estimators import Ridge, as_estimator, frozen
from invsmooth.operators import BlockGaussian, Identity


class Denoiser(nn.Module):
    """Shrinks by the noise level, as deepinv's denoisers take it."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor, sigma: float | None = None, **options: Any) -> Tensor:
        return x / (1 + self.gain * (sigma or 0))


class Reconstructor(nn.Module):
    """As deepinv's reconstructors are called."""

    def forward(self, y: Tensor, physics: Any, **options: Any) -> Tensor:
        return physics.A_adjoint(y)


Y = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def shrink(y: Tensor, sigma: float) -> Tensor:
    return y / (1 + sigma)


def half(y: Tensor) -> Tensor:
    return y / 2


@pytest.mark.parametrize(
    ("method", "sigma", "expected"),
    [
        (nn.Identity(), None, Y),
        (nn.Sequential(nn.ReLU()), None, Y),
        (half, None, Y / 2),
        (lambda y: y / 2, None, Y / 2),
        (lambda y, scale=4: y / scale, None, Y / 4),
        (shrink, 1.0, Y / 2),
        (Denoiser(), 0.5, Y / 2),
        (functools.partial(shrink, sigma=1.0), None, Y / 2),
        (lambda y, operator: operator.A_adjoint(y), None, Y),
        (lambda y, physics: physics.A_adjoint(y), None, Y),
        (Reconstructor(), None, Y),
    ],
)
def test_what_it_takes(method: Any, sigma: float | None, expected: Tensor) -> None:
    estimator = as_estimator(method, sigma=sigma)
    assert isinstance(estimator, nn.Module)
    torch.testing.assert_close(estimator(Y, Identity()), expected)
    assert certify(estimator, Identity(), Y, sigma=0.1, eps=0.05, n_samples=50).bound.isfinite().all()


def test_a_module_that_fits_is_itself() -> None:
    module = Ridge()
    assert as_estimator(module) is module
    operator = BlockGaussian(0.5, block=4)
    torch.testing.assert_close(
        as_estimator(Reconstructor())(operator.A(Y), operator), operator.A_adjoint(operator.A(Y))
    )


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (Denoiser, {}, "give an instance"),
        (3, {}, "no module or function"),
        (lambda: Y, {}, "is needed"),
        (lambda y, operator, sigma: y, {}, "is needed"),
        (lambda y, foo: y, {}, "is needed"),
        (lambda *arguments: Y, {}, "is needed"),
        (lambda y, *, key: y, {}, "is needed"),
        (nn.Module(), {}, "is needed"),
        (shrink, {}, "give as_estimator"),
        (half, {"sigma": 0.1}, "has no use"),
        (lambda y, operator: y, {"sigma": 0.1}, "has no use"),
    ],
)
def test_what_it_refuses(method: Any, options: dict[str, float], message: str) -> None:
    with pytest.raises(PremiseError, match=message):
        as_estimator(method, **options)


def test_modules_that_a_function_calls_are_reached() -> None:
    """Their weights count, and eval mode reaches them."""
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1))
    estimator = as_estimator(lambda y: net(y))
    assert len(estimator.state_dict()) == len(net.state_dict())
    with frozen(estimator):
        assert not net.training
    assert net.training
    assert certify(estimator, Identity(), Y, sigma=0.1, eps=0.05, n_samples=50).bound.isfinite().all()


def test_names_of_the_package() -> None:
    assert invsmooth.as_estimator is as_estimator
    assert set(dir(invsmooth)) >= {"certify", "pgd", "psnr", "ssim", "load_checkpoint", "__version__"}
    for name in dir(invsmooth):
        assert getattr(invsmooth, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = invsmooth.nothing
