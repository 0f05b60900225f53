"""Try to break the certificates: random and attacked perturbations of at most eps, none of which may exceed a bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import binom
from torch import Tensor

from invsmooth.attacks import pgd
from invsmooth.attacks.ball import project, steepest
from invsmooth.certificates import MeanCertificate
from invsmooth.estimators import load_checkpoint
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.operators import BlockGaussian, Identity
from tests.certificates.nets import ReluNet
from tests.certificates.together import certify_all

SIGMA, EPS, Q = 0.1, 0.1, 0.5


def smoothed(net: Estimator, operator: object, z: Tensor, noise: Tensor) -> Tensor:
    """f(A(z + delta)) for every z (P, C, H, W) and the same noise (N, C, H, W): (P, N, C, H, W)."""
    y = operator.A((z[:, None] + noise).flatten(0, 1))  # type: ignore[attr-defined]
    return net(y, operator).unflatten(0, (len(z), len(noise)))  # type: ignore[arg-type]


def exceeds(x_hat: Tensor, reference: Tensor, bound: float) -> Tensor:
    """Where fewer than a fraction Q of the draws (P, N, …) are within the bound: at most once in 10^8 by chance."""
    within = ((x_hat - reference).square().flatten(2).mean(2) <= bound).sum(1)
    return within < binom.ppf(1e-8, x_hat.shape[1], Q)


def clipped_means(x_hat: Tensor, mean: MeanCertificate) -> Tensor:
    """The mean of the draws, each pulled back into the ball of radius R around c."""
    offset = (x_hat - mean.shown).double().flatten(2)
    return (offset * (float(mean.radius) / offset.norm(dim=2, keepdim=True)).clamp_max(1)).mean(1)


def random_perturbations(count: int, like: Tensor, seed: int) -> Tensor:
    direction = torch.randn(count, *like.shape[1:], generator=torch.Generator().manual_seed(seed))
    return EPS * steepest(direction)


def attacked_perturbations(net: ReluNet, z: Tensor, noise: Tensor, xi: Tensor, aim: str) -> Tensor:
    """Ascend the movement of the mean, or the mean error to f(z), from ``xi``, through the given draws."""
    with torch.no_grad():
        start, reference = smoothed(net, Identity(), z, noise).mean(1), net(z, None)
    for step in range(12):
        xi = xi.detach().requires_grad_()
        x_hat = smoothed(net, Identity(), z + xi, noise)
        moved = x_hat.mean(1) - start if aim == "mean" else x_hat - reference
        (gradient,) = torch.autograd.grad(moved.square().sum(), xi)
        xi = project(xi + EPS * 0.7**step * steepest(gradient), EPS)
    return xi.detach()


def test_ten_thousand_perturbations_of_a_relu_net() -> None:
    net, z = ReluNet(16, gain=2.0), torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    x = z + 0.1
    found = certify_all(
        net,
        Identity(),
        z,
        certifiers=("discrepancy", "error", "mean"),
        sigma=SIGMA,
        eps=[EPS],
        n_samples=4000,
        q=Q,
        x=x,
    )
    mean = found["mean"]
    assert isinstance(mean, MeanCertificate)
    noise = SIGMA * torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    attack_noise = SIGMA * torch.randn(100, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    starts = random_perturbations(250, z, 6)
    attacks = [attacked_perturbations(net, z, attack_noise, starts, aim) for aim in ("mean", "error")]
    xi = torch.cat([random_perturbations(9500, z, 7), *attacks])
    assert len(xi) == 10_000
    assert float(xi.flatten(1).norm(dim=1).max()) <= EPS * (1 + 1e-5)
    moved, largest_error = [], 0.0
    with torch.no_grad():
        here = clipped_means(smoothed(net, Identity(), z, noise), mean)
        for part in xi.split(500):
            x_hat = smoothed(net, Identity(), z + part, noise)
            assert not exceeds(x_hat, net(z, None), float(found["discrepancy"].bound)).any()
            assert not exceeds(x_hat, x, float(found["error"].bound)).any()
            means = clipped_means(x_hat, mean)
            moved.append((means - here).norm(dim=1))
            largest_error = max(largest_error, float((means - x.flatten()).square().mean(1).max()))
    certified = float((mean.bound * 16).sqrt())
    assert float(torch.cat(moved).max()) <= certified
    # The attack gets most of the way: the certificate is not just safe.
    assert float(torch.cat(moved[-1:]).max()) > 0.4 * certified
    assert float(torch.cat(moved[-1:]).max()) > 1.1 * float(torch.cat(moved[:-1]).max())
    assert largest_error <= float(mean.certified_error)


def hat(y: Tensor, operator: object) -> Tensor:
    """Three ReLUs: a hat of height 1 between 0.95 and 1.05."""
    return ((y - 0.95).relu() - 2 * (y - 1).relu() + (y - 1.05).relu()) / 0.05


def test_the_moving_reference_is_violated_where_the_fixed_one_is_not() -> None:
    """The paper's Corollary 3.2 compares with f at z', which moves along. One pixel, sigma = eps = 1, 10 000 random xi."""
    z = torch.zeros(1, 1, 1, 1)
    bound = float(
        certify_all(hat, Identity(), z, certifiers=("discrepancy",), sigma=1.0, eps=[1.0], n_samples=1000)[
            "discrepancy"
        ].bound
    )
    generator = torch.Generator().manual_seed(1)
    xi = 2 * torch.rand(10_000, 1, 1, 1, generator=generator) - 1
    noise = torch.randn(400, 1, 1, 1, generator=generator)
    x_hat = smoothed(hat, Identity(), z + xi, noise)
    assert not exceeds(x_hat, hat(z, None), bound).any()
    assert exceeds(x_hat, hat(z + xi, None)[:, None], bound).sum() > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["boats.tif", "Monarch.tif"])
def test_published_network_on_crops(shared_data: Path, name: str) -> None:
    pixels = np.asarray(Image.open(shared_data / "set11" / name).convert("L"))[99:132, 99:132]
    x = torch.tensor(pixels, dtype=torch.float32)[None, None] / 255
    net, operator = load_checkpoint(shared_data / "weights" / "istanetpp_paper_ord_100.pkl"), BlockGaussian(0.1)
    sigma = 25 / 255
    found = certify_all(
        net, operator, operator.A(x), certifiers=("discrepancy", "error", "mean"), sigma=sigma, eps=[sigma], n_samples=150,
        n_centre=50, x=x,
    )  # fmt: skip
    mean = found["mean"]
    assert isinstance(mean, MeanCertificate)
    random = sigma * steepest(torch.randn(2, 1, 33, 33, generator=torch.Generator().manual_seed(1)))
    attack = pgd(net, operator, x, None, eps=sigma, n_iter=8, schedule="cosine").xi
    noise = sigma * torch.randn(60, 1, 33, 33, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), frozen(net):
        here = clipped_means(smoothed(net, operator, x, noise), mean)
        for xi in torch.cat([attack, -attack, random]).split(1):
            x_hat = smoothed(net, operator, x + xi, noise)
            assert not exceeds(x_hat, net(operator.A(x), operator), float(found["discrepancy"].bound)).any()
            assert not exceeds(x_hat, x, float(found["error"].bound)).any()
            assert float((clipped_means(x_hat, mean) - here).norm()) <= float((mean.bound * 33**2).sqrt())
