"""Certificates on a GPU have the ranks of those on a CPU, and their bounds to rounding."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from invsmooth.certificates import (
    Best,
    Center,
    Certificate,
    Certifier,
    Decision,
    Discrepancy,
    Error,
    Lipschitz,
    Mean,
    Radius,
    Smoothing,
    certify,
    certify_all,
    certify_threshold,
    pixel_intervals,
)
from invsmooth.estimators import DPDNN, ISTANetPP, LipNet
from invsmooth.operators import BlockGaussian, Identity, LinearOperator

SAME = {"rtol": 1e-3, "atol": 1e-9, "equal_nan": True}
"""Of bounds (MSE): 0.004 dB. Convolutions sum in another order, and noise differs in the last bits."""
PRECISE = {"rtol": 1e-6, "atol": 1e-12, "equal_nan": True}  # float64
SIGMA, EPS = 0.1, [0.0, 0.05, 0.1, 0.2]
CERTIFIERS: list[Certifier] = [
    Discrepancy(), Error(), Radius(threshold=0.3), Mean(n_centre=12), Center(n_pred=1900),
]  # fmt: skip
NETWORKS = ("istanetpp", "dpdnn")


def parts(name: str, device: str) -> tuple[nn.Module, LinearOperator, Tensor]:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 16, 16)
    if name == "istanetpp":
        net, operator = ISTANetPP(2, 8), BlockGaussian(0.5, block=8)
    elif name == "dpdnn":
        net, operator = DPDNN(1, 8, eta=0.8), Identity()
    else:
        net, operator = LipNet(), Identity()
    return net.eval().to(device), operator.to(device), x.to(device)


@functools.cache
def certificates(name: str, device: str, chunk_size: int | None = None) -> dict[str, Certificate]:
    net, operator, x = parts(name, device)
    smoothing = Smoothing(sigma=SIGMA, n_samples=60, confidence=0.6, seed=1, chunk_size=chunk_size)
    # In small chunks without center, which takes thousands of draws.
    certifiers = CERTIFIERS if chunk_size is None else CERTIFIERS[:-1]
    return dict(certify_all(net, operator, operator.A(x) + 0.01, certifiers, smoothing, eps=EPS, x=x))


@pytest.mark.parametrize("name", NETWORKS)
def test_certificates_are_those_of_the_cpu(device: str, name: str) -> None:
    expected, found = certificates(name, "cpu"), certificates(name, device)
    assert list(found) == [c.name for c in CERTIFIERS]
    for certifier, own in found.items():
        same = expected[certifier]
        assert (own.k_index == same.k_index).all() if own.k_index is not None else same.k_index is None
        assert own.bound.device.type == device
        torch.testing.assert_close(own.bound.cpu(), same.bound, **SAME)
        torch.testing.assert_close(own.median.cpu(), same.median, **SAME)
        assert ((own.reason == "") == (same.reason == "")).all()
    assert not any(own.bound.isnan().all() for own in found.values())


def test_chunks_do_not_matter(device: str) -> None:
    whole, parts_ = certificates("istanetpp", device), certificates("istanetpp", device, 7)
    for certifier, own in parts_.items():
        torch.testing.assert_close(own.bound, whole[certifier].bound, **SAME)


def test_lipschitz_and_best(device: str) -> None:
    def found(place: str) -> dict[str, Certificate]:
        net, operator, x = parts("lipnet", place)
        smoothing = Smoothing(sigma=SIGMA, n_samples=40, confidence=0.9)
        alone = certify(net, operator, x, certifier="lipschitz", eps=EPS, x=x)
        mean, lipschitz = Mean(n_centre=10), Lipschitz()
        both = certify_all(net, operator, x, [mean, lipschitz], smoothing, eps=EPS, x=x)
        best = Best().combine([(c, both[c.name].at(2)) for c in (mean, lipschitz)])
        return {"alone": alone, "best": best, **both}

    own, expected = found(device), found("cpu")
    for name, certificate in expected.items():
        tolerance = PRECISE if name in ("alone", "lipschitz") else SAME
        torch.testing.assert_close(own[name].bound.cpu(), certificate.bound, **tolerance)


def test_thresholds_and_intervals_of_pixels(device: str) -> None:
    def found(place: str) -> tuple[Decision, Tensor, Tensor]:
        net, operator, x = parts("dpdnn", place)
        options = {"sigma": SIGMA, "eps": 0.05, "confidence": 0.9}
        decision = certify_threshold(net, operator, x, threshold=0.05, max_samples=60, x=x, **options)
        pixels = pixel_intervals(net, operator, x, n_samples=60, **options)
        return decision, pixels.lower.cpu(), pixels.upper.cpu()

    decision, *ends = found(device)
    expected, *same = found("cpu")
    assert list(decision.below) == list(expected.below)
    assert list(decision.n_samples) == list(expected.n_samples)
    for own, other in zip(ends, same, strict=True):
        assert own.isfinite().any()
        torch.testing.assert_close(own, other, rtol=0, atol=1e-4, equal_nan=True)


def test_one_image_beside_others(device: str) -> None:
    net, operator, x = parts("istanetpp", device)
    options = {"sigma": SIGMA, "eps": 0.05, "n_samples": 60, "confidence": 0.9}
    smoothing = Smoothing(sigma=SIGMA, n_samples=60, confidence=0.9)
    y = operator.A(x)
    both = certify_all(net, operator, y, [Discrepancy()], smoothing, eps=[0.05], image_keys=["a", "b"])["discrepancy"]
    alone = certify_all(net, operator, y[1:], [Discrepancy()], smoothing, eps=[0.05], image_keys=["b"])["discrepancy"]
    torch.testing.assert_close(both.bound[1:], alone.bound, **SAME)
    assert math.isfinite(float(certify(net, operator, y[:1], **options).bound))
