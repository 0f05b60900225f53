"""An attack on a GPU finds as much as on a CPU, to 0.02 dB."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch

from invsmooth.attacks import APGD, PGD, Noise, Search, Target, attack, pgd
from invsmooth.attacks.attack import AttackResult
from invsmooth.metrics import mse, psnr
from tests.gpu.test_certificates import parts

SAME_DB = 0.02
EPS = 0.5
SEARCHES: dict[str, Search] = {
    "pgd": PGD(n_iter=8, schedule="cosine", init="sphere"), "apgd": APGD(n_iter=8), "noise": Noise(n_iter=4),
}  # fmt: skip
TARGETS: dict[str, Target] = {
    "base": Target(), "mean": Target(kind="mean", sigma=0.1, n_samples=4),
    "mean in chunks": Target(kind="mean", sigma=0.1, n_samples=5, chunk_size=2),
    "median": Target(kind="median", sigma=0.1, n_samples=5, n_around=2),
}  # fmt: skip


@functools.cache
def found(search: str, target: str, device: str) -> AttackResult:
    net, operator, x = parts("istanetpp", device)
    # In float32: whether bfloat16 pays, which takes another evaluation, is for each device to say.
    how: dict[str, Any] = {"target": TARGETS[target], "precision": "fp32", "seed": 2, "image_keys": ["a", "b"]}
    return attack(SEARCHES[search], net, operator, x, eps=EPS, **how)


@pytest.mark.parametrize(
    ("search", "target"),
    [("pgd", "base"), ("apgd", "base"), ("noise", "base"), *(("pgd", t) for t in list(TARGETS)[1:])],
)
def test_attacks_find_as_much(device: str, search: str, target: str) -> None:
    own, same = found(search, target, device), found(search, target, "cpu")
    assert own.xi.device.type == own.loss.device.type == device
    assert (own.grad_evals, own.network_evals) == (same.grad_evals, same.network_evals)
    assert float(own.xi.flatten(1).norm(dim=1).max()) <= EPS * (1 + 1e-5)
    decibels = 10 * (own.loss.cpu() / same.loss).log10().abs()
    assert float(decibels.max()) <= SAME_DB
    assert not own.zero_gradient.any()


def test_the_loss_told_is_that_of_the_perturbation(device: str) -> None:
    """As a user computes it again; on the CPU, too."""
    own = found("pgd", "base", device)
    for place in {device, "cpu"}:
        net, operator, x = parts("istanetpp", place)
        with torch.no_grad():
            x_hat = net(operator.A(x + own.xi.to(place)), operator)
        torch.testing.assert_close(mse(x_hat, x).cpu(), own.loss.cpu(), rtol=1e-3, atol=0)
        assert math.isfinite(float(psnr(x_hat, x)[0]))


def test_public_pgd(device: str) -> None:
    net, operator, x = parts("dpdnn", device)
    options: dict[str, Any] = {"eps": EPS, "n_iter": 5, "schedule": "cosine"}
    own = pgd(net, operator, x, 0.02 * torch.ones_like(x), **options)
    net, operator, x = parts("dpdnn", "cpu")
    same = pgd(net, operator, x, 0.02 * torch.ones_like(x), **options)
    assert float((10 * (own.loss.cpu() / same.loss).log10()).abs().max()) <= SAME_DB
    assert not any(p.grad is not None for p in net.parameters())
