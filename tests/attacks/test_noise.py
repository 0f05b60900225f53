from __future__ import annotations

import pytest
import torch

from invsmooth.attacks import noise, pgd
from invsmooth.estimators import ISTANetPP, MatchedFilter
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity
from tests.attacks.oracles import Linear


def test_norm_loss_and_cost(problem: Linear) -> None:
    best, last = (
        noise(problem.estimator, problem.operator, problem.x, problem.b, eps=0.3, n_iter=20, keep=keep)
        for keep in ("best", "last")
    )
    for found in (best, last):
        torch.testing.assert_close(found.xi.flatten(1).norm(dim=1), torch.full((3,), 0.3))
        x_hat = problem.reconstruct(problem.x + found.xi, problem.b)
        torch.testing.assert_close(found.loss, mse(x_hat, problem.x), rtol=1e-4, atol=0)
        assert found.losses.shape == (3, 20)
        assert (found.grad_evals, found.network_evals) == (0, 20)
    torch.testing.assert_close(best.losses, last.losses)
    assert torch.equal(best.loss, best.losses.amax(1))
    assert torch.equal(last.loss, last.losses[:, -1])


def test_mean_loss_is_that_of_isotropic_noise() -> None:
    """f(y) = y and A = I: ||x + xi + b - x||² = ||xi + b||², in the mean eps² + ||b||² over the sphere."""
    x, b = torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.1)
    found = noise(MatchedFilter(), Identity(), x, b, eps=1.5, n_iter=4000)
    # ||xi + b||² varies by 2 eps ||b|| / sqrt(n) = 0.3 around that.
    assert 64 * float(found.losses.mean()) == pytest.approx(1.5**2 + 0.64, abs=5 * 0.3 / 4000**0.5)
    assert 64 * float(found.losses.std()) == pytest.approx(0.3, rel=0.1)


def test_is_much_weaker_than_an_attack_of_the_same_norm(problem: Linear) -> None:
    setting = problem.estimator, problem.operator, problem.x, problem.b
    random, attack = noise(*setting, eps=1.0, n_iter=50), pgd(*setting, eps=1.0, n_iter=20, schedule="cosine")
    clean = pgd(*setting, eps=0, n_iter=1).loss
    assert (random.losses.mean(1) - clean < 0.5 * (attack.loss - clean)).all()


def test_needs_no_gradient_and_leaves_none() -> None:
    found = noise(lambda y, operator: y.detach().round(), Identity(), torch.rand(2, 1, 4, 4), eps=1.0, n_iter=3)
    assert not found.loss.requires_grad
    net = ISTANetPP(1, 4).train()
    noise(net, BlockGaussian(0.5, block=8), torch.rand(1, 1, 16, 16), eps=1.0, n_iter=2)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert noise(net, BlockGaussian(0.5, block=8), torch.rand(1, 1, 16, 16), eps=0, n_iter=9).network_evals == 1


@pytest.mark.parametrize(
    ("options", "message"), [({"eps": -1}, "eps=-1"), ({"n_iter": 0}, "n_iter=0"), ({"keep": "mean"}, "keep='mean'")]
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        noise(MatchedFilter(), Identity(), torch.rand(1, 1, 4, 4), **{"eps": 1, "n_iter": 3} | options)
