"""Calls of the Python API with plausible but unusual input: they work, or say what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import invsmooth.operators as ops
from invsmooth import BlockGaussian, Identity, ISTANetPP, certify, pgd, psnr
from invsmooth.core.errors import PremiseError
from invsmooth.estimators import Ridge
from invsmooth.metrics import ssim

X = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
SMOOTH = {"sigma": 0.1, "eps": 0.05, "n_samples": 60}
OPERATORS = {
    "block": ops.BlockGaussian(0.3, 8), "dense": ops.Dense(0.5, side=16), "blur": ops.Blur(width=1.0),
    "fourier": ops.Fourier(0.5),
    "inpainting": ops.Inpainting(0.5), "super": ops.SuperResolution(0.25), "identity": Identity(),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_compute_in_the_type_of_the_images(name: str) -> None:
    """The matrix is that of float32, and the adjoint exact to float64."""
    operator = OPERATORS[name]
    y = operator.A(X.double())
    assert y.dtype == torch.float64
    torch.testing.assert_close(y.float(), operator.A(X), atol=1e-5, rtol=1e-5)
    v = torch.rand(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    back = operator.A_adjoint(v)
    assert back.dtype == torch.float64
    assert float((y * v).sum()) == pytest.approx(float((X.double() * back).sum()), rel=1e-12)


def test_a_network_in_float64_is_attacked_and_certified() -> None:
    net, operator = ISTANetPP(1, 4).double(), BlockGaussian(0.3, 8)
    x = X.double()
    assert pgd(net, operator, x, eps=0.1, n_iter=2).xi.dtype == torch.float64
    assert certify(net, operator, operator.A(x), **SMOOTH).bound.isfinite().all()


def test_autocast_is_named() -> None:
    net, operator = ISTANetPP(1, 4), BlockGaussian(0.3, 8)
    y = operator.A(X)
    with torch.autocast("cpu", torch.bfloat16):
        for call in (lambda: certify(net, operator, y, **SMOOTH), lambda: pgd(net, operator, X, eps=0.1, n_iter=2)):
            with pytest.raises(PremiseError, match=r"torch\.autocast is on"):
                call()


def test_gradients_and_read_only_arrays_give_no_warnings() -> None:
    net = ISTANetPP(1, 4)
    plain = certify(net, Identity(), X, **SMOOTH).bound
    assert torch.equal(certify(net, Identity(), X.clone().requires_grad_(), **SMOOTH).bound, plain)
    array = X.numpy().copy()
    array.flags.writeable = False
    assert np.array_equal(certify(net, Identity(), array, **SMOOTH).bound, plain.numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": True}, "n_samples=True is no whole number"),
        ({"seed": False}, "seed=False is no whole number"),
        ({"confidence": True}, "confidence=True is no number"),
        ({"image_keys": ["a"]}, "1 image_keys for 2 images"),
    ],
)
def test_arguments_that_are_meant_for_others(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        certify(ISTANetPP(1, 4), Identity(), X, **SMOOTH | change)


def test_a_masked_array_is_refused() -> None:
    with pytest.raises(ValueError, match="its mask would be lost"):
        certify(ISTANetPP(1, 4), Identity(), np.ma.masked_less(X.numpy(), 0.5), **SMOOTH)


def test_quality_of_grey_levels_and_of_no_image() -> None:
    grey = (X * 255).to(torch.uint8)
    for quality in (psnr, ssim):
        with pytest.raises(ValueError, match="grey levels / 255"):
            quality(grey, grey)
        assert quality(X[:0], X[:0]).shape == (0,)
    with pytest.raises(ValueError, match="both need the same"):
        ssim(X, X[:1])
    assert psnr(X, X[:1])[0] == torch.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pgd(ISTANetPP(1, 4), Identity(), X, 0.1, eps=0.1, n_iter=1), "b is a float; give a torch tensor"),
        (lambda: BlockGaussian([0.1, 0.2]), r"ratio=\[0.1, 0.2\] is not allowed; allowed: a number"),
        (lambda: ops.Inpainting("half"), "ratio='half' is not allowed"),
        (lambda: Ridge(float("nan")), "alpha=nan is not allowed; allowed: a finite number > 0"),
        (
            lambda: certify(ISTANetPP(1, 4), Identity(), X, certifier=["error"], **SMOOTH),
            r"certifier=\['error'\] is no name",
        ),
    ],
)
def test_a_wrong_kind_of_value_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("declared", [2.0, lambda self, operator: None, lambda self, operator: torch.ones(2)])
def test_a_constant_that_is_none_is_said(declared: object) -> None:
    class Net(torch.nn.Module):
        lipschitz = declared

        def forward(self, y: torch.Tensor, operator: object) -> torch.Tensor:
            return y / 2

    found = certify(Net(), Identity(), X, eps=0.1, certifier="lipschitz")
    assert found.bound.isnan().all()
    assert "Lipschitz constant" in found.reason[0] or "declared as" in found.reason[0]


def test_an_attack_on_images_with_gradients() -> None:
    net = ISTANetPP(1, 4)
    assert pgd(net, Identity(), X.clone().requires_grad_(), eps=0.1, n_iter=1).xi.shape == X.shape
