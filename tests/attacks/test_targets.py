from __future__ import annotations

from typing import Any

import pytest
import torch

from invsmooth.attacks import QuantileError, SmoothedError, Target, apgd, pgd
from invsmooth.attacks.quantile_error import quantile_rank
from invsmooth.attacks.targets import attack_draws
from invsmooth.estimators import ISTANetPP, MatchedFilter
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity
from tests.attacks.oracles import Linear, certificate_noise


def network() -> tuple[ISTANetPP, BlockGaussian, torch.Tensor, torch.Tensor]:
    """A small network with large random weights, in double precision, with images and measurement noise."""
    net, operator = ISTANetPP(2, 4).double(), BlockGaussian(0.5, block=4).double()
    generator = torch.Generator().manual_seed(4)
    for p in net.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x = torch.rand(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    b = 0.05 * torch.randn(operator.A(x).shape, generator=generator, dtype=torch.float64)
    return net, operator, x, b


def written_out(target: Target, xi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean reconstruction and per-draw losses of :func:`network`, draw by draw."""
    net, operator, x, b = network()
    noise = attack_draws(x, target.n_samples, False, 3, ["a", "b"])()
    draws = torch.stack([net(operator.A(x + xi + target.sigma * n) + b, operator) for n in noise.unbind(1)], 1)
    return draws.mean(1), (draws - x[:, None]).square().flatten(2).mean(2)


@pytest.mark.parametrize("search", [pgd, apgd])
@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_mean_reaches_the_worst_case_of_a_linear_estimator(problem: Linear, eps: float, search: Any) -> None:
    """The mean of linear reconstructions is that of the mean draw: the closed form, moved by sigma times the mean noise."""
    target, options = Target("mean", 0.2, 6, "fixed"), {"schedule": "cosine"} if search is pgd else {}
    found = search(
        problem.estimator, problem.operator, problem.x, problem.b, eps=eps, n_iter=60, target=target, seed=2, **options
    )
    shift = 0.2 * attack_draws(problem.x, 6, False, 2, range(3))().mean(1)
    for i in range(3):
        best = problem.worst_case(i, eps, shift[i])
        assert 0.99 * best <= float(found.loss[i]) <= best * (1 + 1e-4)
    assert shift.norm() > 0.1  # it matters


def test_mean_over_fresh_draws_finds_the_worst_case_without_noise(problem: Linear) -> None:
    """E f(y + A delta) = f(y) for a linear f: what the attack found is as bad for f itself, which it never saw."""
    eps, target = 1.0, Target("mean", 0.1, 8, "fresh")
    found = pgd(
        problem.estimator, problem.operator, problem.x, problem.b, eps=eps, n_iter=60, schedule="cosine", target=target
    )
    loss = mse(problem.reconstruct(problem.x + found.xi, problem.b), problem.x)
    for i in range(3):
        assert 0.97 * problem.worst_case(i, eps) <= float(loss[i]) <= problem.worst_case(i, eps) * (1 + 1e-4)


def test_median_of_one_pixel() -> None:
    """f(y) = y: the loss of draw k is (r + xi + sigma delta_k)²; its median over the interval by trying all xi."""
    x, b, target = (
        torch.zeros(4, 1, 1, 1),
        torch.tensor([-0.3, -0.1, 0.1, 0.4]).view(4, 1, 1, 1),
        Target("median", 0.5, 9, "fixed"),
    )
    found = pgd(MatchedFilter(), Identity(), x, b, eps=0.7, n_iter=20, schedule="cosine", target=target, restarts=8)
    noise = 0.5 * attack_draws(x, 9, False, 0, range(4))().flatten(1)
    grid = torch.linspace(-0.7, 0.7, 1401)
    losses = (b.view(4, 1, 1) + grid[:, None] + noise[:, None]).square().median(-1).values
    torch.testing.assert_close(found.loss, losses.amax(1), rtol=1e-3, atol=0)


def test_median_follows_the_residual() -> None:
    """f(y) = y, A = I: n l / sigma² is non-central chi-square with ||b + xi||² / sigma²; the worst xi is along b."""
    b = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = pgd(MatchedFilter(), Identity(), torch.rand(2, 1, 8, 8), b, eps=2.0, n_iter=20, schedule="cosine",
                target=Target("median", 0.3, 32, "fresh"))  # fmt: skip
    cosine = torch.nn.functional.cosine_similarity(found.xi.flatten(1), b.flatten(1))
    assert (cosine > 0.95).all()


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_values_against_the_formula(kind: str) -> None:
    net, operator, x, b = network()
    xi = 0.2 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for q, rank in ((0.5, 3), (0.9, 5)):  # of 5 draws: the lower median, the largest
        target = Target(kind, 0.3, 5, "fixed", q=q)
        objective = target.objective(net, operator, x, b, seed=3, image_keys=["a", "b"])
        mean, losses = written_out(target, xi)
        expected = mse(mean, x) if kind == "mean" else losses.sort(1).values[:, rank - 1]
        torch.testing.assert_close(objective.value(xi), expected.detach(), rtol=1e-9, atol=0)
        torch.testing.assert_close(objective.value_and_gradient(xi)[0], expected.detach(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, None])
@pytest.mark.parametrize(("kind", "n_around"), [("mean", None), ("median", None), ("median", 1), ("median", 3)])
def test_gradients_by_finite_differences(kind: str, n_around: int | None, chunk_size: int | None) -> None:
    """The mean: of its loss. The median: of the draw of that rank, of the three about it, of all."""
    net, operator, x, b = network()
    target = Target(kind, 0.3, 5, "fixed", n_around=n_around, chunk_size=chunk_size)
    objective = target.objective(net, operator, x, b, seed=3, image_keys=["a", "b"])
    generator = torch.Generator().manual_seed(1)
    xi, direction = (torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))

    def followed(moved: torch.Tensor) -> torch.Tensor:
        """The loss whose gradient it should be, one number for each image."""
        with torch.no_grad():
            mean, losses = written_out(target, moved)
        if kind == "mean":
            return mse(mean, x)
        width = {None: slice(0, 5), 1: slice(2, 3), 3: slice(1, 4)}[n_around]
        return losses.sort(1).values[:, width].mean(1)

    step = 1e-5
    slope = (followed(xi + step * direction) - followed(xi - step * direction)) / (2 * step)
    _, gradient = objective.value_and_gradient(xi)
    torch.testing.assert_close((gradient * direction).flatten(1).sum(1), slope, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_chunks_do_not_change_the_attack(kind: str) -> None:
    net, operator, x, b = network()
    found = [
        pgd(net, operator, x, b, eps=0.5, n_iter=4, target=Target(kind, 0.2, 5, "fresh", chunk_size=c), init="sphere")
        for c in (1, 2, 5, None)
    ]
    for other in found[1:]:
        torch.testing.assert_close(other.xi, found[0].xi, rtol=1e-6, atol=1e-9)


def test_draws_depend_on_image_and_number_and_are_not_the_certificates() -> None:
    x = torch.rand(2, 1, 3, 3)
    fixed, fresh = attack_draws(x, 5, False, 0, ["a", "b"]), attack_draws(x, 5, True, 0, ["a", "b"])
    assert torch.equal(fixed(), fixed())
    first, second = fresh(), fresh()
    assert torch.equal(first, fixed())
    assert not torch.equal(first, second)
    more = attack_draws(x, 10, False, 0, ["a", "b"])()
    assert torch.equal(torch.cat([first, second], 1), more)
    assert torch.equal(attack_draws(x[:1], 5, False, 0, ["b"])()[0], first[1])
    others = certificate_noise(x.shape[1:], 64, 0, ["a", "b"])
    assert not torch.isin(more, others).any()
    assert float(more.std()) == pytest.approx(1, abs=0.2)


def test_cost_is_counted_in_network_evaluations() -> None:
    net, operator, x, b = network()

    def cost(target: Target, **options: Any) -> tuple[int, int]:
        found = pgd(net, operator, x, b, eps=0.5, n_iter=3, target=target, **options)
        return found.grad_evals, found.network_evals

    assert cost(Target()) == (3, 4)
    assert cost(Target("mean", 0.0, 5)) == (3, 4)  # without noise the estimator alone
    assert cost(Target("mean", 0.2, 5, chunk_size=5)) == (15, 20)
    assert cost(Target("mean", 0.2, 5, chunk_size=2)) == (15, 35)  # the mean first, then the gradient of its loss
    assert cost(Target("median", 0.2, 5, chunk_size=2), restarts=2) == (30, 40)
    assert cost(Target("median", 0.2, 5, n_around=1)) == (3, 23)


@pytest.mark.parametrize("kind", ["mean", "median"])
@pytest.mark.parametrize("search", [pgd, apgd])
def test_leaves_no_gradients_on_the_weights(kind: str, search: Any) -> None:
    net, operator = ISTANetPP(2, 4).train(), BlockGaussian(0.5, block=8)
    search(net, operator, torch.rand(1, 1, 16, 16), eps=0.1, n_iter=3, target=Target(kind, 0.1, 4, chunk_size=3))
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_rank_of_a_quantile() -> None:
    assert [quantile_rank(0.5, n) for n in (1, 2, 3, 4, 100)] == [1, 1, 2, 2, 50]
    assert quantile_rank(0.7, 10) == 7
    assert quantile_rank(0.001, 10) == 1
    assert quantile_rank(0.99, 10) == 10


def test_the_objective_of_each_target() -> None:
    x = torch.rand(1, 1, 4, 4)
    assert isinstance(Target("mean", 0.1, 2).objective(MatchedFilter(), Identity(), x, None), SmoothedError)
    assert isinstance(Target("median", 0.1, 2).objective(MatchedFilter(), Identity(), x, None), QuantileError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "mode"}, "kind='mode' is not allowed; allowed: base, mean, median"),
        ({"draws": "some"}, "draws='some'"),
        ({"sigma": -1.0}, "sigma=-1"),
        ({"n_samples": 0}, "n_samples=0"),
        ({"q": 1.0}, "q=1.0"),
        ({"n_around": 0}, "n_around=0"),
        ({"chunk_size": 0}, "chunk_size=0"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target(**options)
