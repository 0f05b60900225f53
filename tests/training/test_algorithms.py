"""Each algorithm against closed forms and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.attacks import SmoothedError
from invsmooth.estimators import ISTANetPP
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.training.jcb import automatic_beta, direction_of, power_iteration
from tests.attacks.oracles import worst_case
from tests.training.toys import SETTINGS, Gain, alone


class Linear(torch.nn.Module):
    """x_hat = W A^T y with a dense matrix W of 16 × 16."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(16, 16, generator=torch.Generator().manual_seed(2)) / 4)

    def forward(self, y: Tensor, operator: BlockGaussian) -> Tensor:
        x = operator.A_adjoint(y)
        return (x.flatten(1) @ self.w.to(x).T).view_as(x)


def test_adversarial_training_finds_the_closed_form_of_a_linear_estimator() -> None:
    """And its loss is that of the attacked measurement against the CLEAN patch (ERRATA 14), patch by patch (ERRATA 10)."""
    net, operator = Linear(), BlockGaussian(0.5, block=4)
    trained = alone("Adv", net, {"train_operators": [operator]}, eps=0.3, n_iter=80, schedule="cosine")
    x = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    b = 0.01 * torch.randn(operator.A(x).shape, generator=torch.Generator().manual_seed(1))
    loss = trained.accumulate_gradients(x, b, operator, 0)
    with torch.no_grad():
        jacobian = net(operator.A(torch.eye(16).view(16, 1, 4, 4)), operator).flatten(1).T.double().numpy()
        residual = (net(operator.A(x) + b, operator) - x).flatten(1).double().numpy()
    exact = np.mean([worst_case(jacobian, r, 0.3) / 16 for r in residual])
    assert float(loss) == pytest.approx(exact, rel=0.01)
    xi = trained.attack(x, trained.objective(x, b, operator))
    torch.testing.assert_close(xi.flatten(1).norm(dim=1), torch.full((6,), 0.3), rtol=1e-5, atol=0)


def test_attack_leaves_gradients_to_the_update_alone() -> None:
    """The gradient of the weights is that of l(f(y_{x+xi*}), x) with xi* held fixed."""
    net, operator = Linear(), BlockGaussian(0.5, block=4)
    trained = alone("Adv", net, {"train_operators": [operator]}, eps=0.3, n_iter=5)
    x = torch.rand(3, 1, 4, 4)
    b = torch.zeros_like(operator.A(x))
    xi = trained.attack(x, trained.objective(x, b, operator))
    assert net.w.grad is None
    trained.accumulate_gradients(x, b, operator, 0)
    found = net.w.grad.clone()
    (expected,) = torch.autograd.grad(mse(net(operator.A(x + xi), operator), x).mean(), net.w)
    torch.testing.assert_close(found, expected)


def test_radius_warms_up_and_the_start_is_warm() -> None:
    trained = alone("Adv", Linear(), eps=0.4, n_iter=1, step_size=0.01, eps_warmup=3, warm_start=True)
    operator, x = BlockGaussian(0.5, block=4), torch.rand(2, 1, 4, 4)
    objective = trained.objective(x, torch.zeros_like(operator.A(x)), operator)
    norms = []
    for batch in range(5):
        trained.batches_seen = batch
        assert trained.radius() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4][batch])
        norms.append(float(trained.attack(x, objective).flatten(1).norm(dim=1).max()))
    assert norms == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05], rel=0.05)  # each goes on from the last


def test_an_attack_may_start_at_the_residual() -> None:
    """With a step too short to matter: xi = eps (f(A x + b) - x) / ||.||."""
    trained = alone("Adv", Linear(), eps=0.4, n_iter=1, step_size=1e-6, init="residual")
    operator, x = BlockGaussian(0.5, block=4), torch.rand(2, 1, 4, 4)
    b = 0.1 * torch.randn(operator.A(x).shape)
    xi = trained.attack(x, trained.objective(x, b, operator))
    r = (trained.estimator(operator.A(x) + b, operator) - x).detach()
    torch.testing.assert_close(xi, 0.4 * r / r.flatten(1).norm(dim=1).view(2, 1, 1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Adv", "SmtAdv"])
def test_precision_of_the_attack_alone(name: str) -> None:
    """The network sees bf16 in the attack and fp32 in the update; xi, the loss and the gradient are in fp32."""

    class Spy(Linear):
        def forward(self, y: Tensor, operator: BlockGaussian) -> Tensor:
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(y, operator)

    seen: list[bool] = []
    own = {"sigma": 0.1, "n_samples": 2} if name == "SmtAdv" else {}
    trained = alone(name, Spy(), eps=0.4, n_iter=2, init="residual", inner_precision="bf16", **own)
    operator, x = BlockGaussian(0.5, block=4), torch.rand(2, 1, 4, 4)
    loss = trained.accumulate_gradients(x, torch.zeros_like(operator.A(x)), operator, 0)
    assert seen == [True, True, True, False]
    assert loss.dtype == trained.estimator.w.grad.dtype == torch.float32


def jacobian_of(net: torch.nn.Module, operator: BlockGaussian, x: Tensor, b: Tensor) -> Tensor:
    """Dense n × n Jacobian of x -> f(A x + b) for one image."""
    dense = torch.autograd.functional.jacobian(lambda z: net(operator.A(z) + b, operator), x)
    return dense.reshape(x.numel(), x.numel())


def test_jacobian_penalty_is_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    net, operator = ISTANetPP(2, 4).double(), BlockGaussian(0.5, block=4).double()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    b = 0.1 * torch.randn(operator.A(x).shape, dtype=torch.float64)
    exact = [float(torch.linalg.svdvals(jacobian_of(net, operator, x[i : i + 1], b[i : i + 1]))[0]) for i in range(3)]
    for reduce, expected in (("max", max(exact)), ("mean", sum(exact) / 3)):
        trained = alone("Jcb", net, {"train_operators": [operator]}, beta=1.0, n_iter=300, reduce=reduce)
        loss = trained.accumulate_gradients(x, b, operator, 0)
        error = mse(net(operator.A(x) + b, operator), x).mean().detach()
        assert float(loss - error) == pytest.approx(expected, rel=1e-3)


def test_gradient_of_the_jacobian_penalty_against_finite_differences() -> None:
    """The released code's penalty had no gradient at all (ERRATA 13)."""
    torch.manual_seed(1)
    net, operator = ISTANetPP(1, 3).double(), BlockGaussian(0.5, block=4).double()
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    b = torch.zeros_like(operator.A(x))

    def penalty_gradient(beta: float) -> Tensor:
        # Without the penalty, the direction that the iterations find is of no use.
        trained = alone("Jcb", net, {"train_operators": [operator]}, beta=beta, n_iter=500 if beta else 1)
        net.zero_grad()
        trained.accumulate_gradients(x, b, operator, 0)
        return weight.grad.clone()

    weight = net.phases[0].tail_conv.weight
    penalty = penalty_gradient(1.0) - penalty_gradient(0.0)
    for index in ((0, 0, 1, 1), (0, 2, 0, 1)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                values.append(float(torch.linalg.svdvals(jacobian_of(net, operator, x, b))[0]))
                weight[index] -= step
        assert float(penalty[index]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3)
    assert float(penalty.abs().max()) > 1e-4


@pytest.mark.parametrize("n_iter", [1, 3])
def test_jacobian_penalty_of_the_worst_patch_is_the_largest_of_all(n_iter: int) -> None:
    """The gradient of the batch's largest ||J v||, with v after the power iterations fixed, in one graph."""
    torch.manual_seed(0)
    net, operator = ISTANetPP(2, 4).double(), BlockGaussian(0.5, block=4).double()
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    b = 0.1 * torch.randn(operator.A(x).shape, dtype=torch.float64)
    trained = alone("Jcb", net, {"train_operators": [operator]}, beta=0.5, n_iter=n_iter)
    u = torch.randn(x.shape, dtype=torch.float64)
    trained.left = u = u / u.flatten(1).norm(dim=1).view(3, 1, 1, 1)
    loss = trained.accumulate_gradients(x, b, operator, 0)
    dense = [jacobian_of(net, operator, x[i : i + 1], b[i : i + 1]) for i in range(3)]
    products = []
    for i in range(3):
        left = u[i].flatten()
        for _ in range(n_iter):
            right = dense[i].T @ left / (dense[i].T @ left).norm()
            left = dense[i] @ right / (dense[i] @ right).norm()
        torch.testing.assert_close(trained.left[i].flatten(), left)
        products.append((dense[i] @ right, right))
    worst = max(range(3), key=lambda i: float(products[i][0].norm()))
    v = products[worst][1].view(1, 1, 8, 8)

    def reconstruct(z: Tensor) -> Tensor:
        return net(operator.A(z) + b[worst : worst + 1], operator)

    _, product = torch.autograd.functional.jvp(reconstruct, x[worst : worst + 1], v, create_graph=True)
    expected = mse(net(operator.A(x) + b, operator), x).mean() + 0.5 * product.norm()
    torch.testing.assert_close(loss, expected.detach())
    gradients = torch.autograd.grad(expected, list(net.parameters()), allow_unused=True)
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("autocast", [False, True])
def test_direction_of_the_next_start_is_that_of_the_jacobian(autocast: bool) -> None:
    torch.manual_seed(0)
    net, operator = ISTANetPP(2, 8), BlockGaussian(0.5)
    x = torch.rand(6, 1, 33, 33)
    v = torch.randn_like(x)
    v /= v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)

    def reconstruct(z: Tensor) -> Tensor:
        return net(operator.A(z), operator)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        expected = torch.func.jvp(reconstruct, (x,), (v,))[1]
        found = direction_of(reconstruct, x, reconstruct(x), v)
    if autocast:  # a difference would be lost in the rounding of bfloat16
        assert torch.equal(found, expected)
    else:
        assert float((found - expected).norm() / expected.norm()) < 0.02


def test_frobenius_norm_by_hutchinson() -> None:
    net, operator = Linear(), BlockGaussian(1.0, block=4)
    x = torch.rand(64, 1, 4, 4)
    b = torch.zeros_like(operator.A(x))
    settings = {"norm": "frobenius", "reduce": "mean", "n_iter": 20}
    trained = alone("Jcb", net, {"train_operators": [operator]}, beta=1.0, **settings)
    loss = trained.accumulate_gradients(x, b, operator, 0)
    error = mse(net(operator.A(x), operator), x).mean().detach()
    assert float(loss - error) == pytest.approx(float(net.w.detach().norm()), rel=0.02)


def test_power_iteration_keeps_its_vectors_from_step_to_step() -> None:
    net, operator = Linear(), BlockGaussian(1.0, block=4)
    trained = alone("Jcb", net, {"train_operators": [operator]}, beta=0.0)
    x = torch.rand(2, 1, 4, 4)
    for _ in range(60):
        trained.accumulate_gradients(x, torch.zeros_like(operator.A(x)), operator, 0)
    # One iteration a batch: after 60 of them the left vector is the singular one, J^T u = s v.
    values = torch.linalg.svdvals(net.w.detach())
    back = trained.left.flatten(1) @ net.w.detach()
    torch.testing.assert_close(back.norm(dim=1), values[0].expand(2), rtol=1e-2, atol=0)
    zero = power_iteration(lambda z: 0 * z, x, trained.left, 3)
    assert torch.equal(zero, trained.left)


@pytest.mark.parametrize(
    ("error", "penalty", "expected"), [(0.05, 2.0, 0.01 / 20), (3.0, 0.2, 10 / 20), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]
)
def test_automatic_weight_is_a_power_of_ten(error: float, penalty: float, expected: float) -> None:
    assert automatic_beta(error, penalty, 20) == pytest.approx(expected)


def smoothed(smoothing: str, chunk_size: int | None, n_samples: int = 7) -> SmoothedError:
    net, operator = ISTANetPP(2, 4).double(), BlockGaussian(0.5, block=4).double()
    generator = torch.Generator().manual_seed(4)
    for p in net.parameters():
        p.data = 0.3 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x = torch.rand(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(2, n_samples, 1, 8, 8, generator=generator, dtype=torch.float64)
    b = 0.05 * torch.randn(operator.A(x).shape, generator=generator, dtype=torch.float64)
    return SmoothedError(net, operator, x, b, 0.2, lambda: noise, smoothing, chunk_size)


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("smoothing", ["mean", "loss"])
def test_gradient_in_chunks_is_that_of_one_graph(smoothing: str, chunk_size: int | None) -> None:
    """Against autograd through the formula, written out."""
    objective = smoothed(smoothing, chunk_size)
    xi = (0.1 * torch.randn(2, 1, 8, 8, dtype=torch.float64)).requires_grad_()
    x, b, noise, operator = objective.x, objective.b, objective.draw(), objective.operator
    draws = [objective.estimator(operator.A(x + xi + 0.2 * noise[:, k]) + b, operator) for k in range(7)]
    expected = mse(sum(draws) / 7, x) if smoothing == "mean" else sum(mse(d, x) for d in draws) / 7
    value, gradient = objective.value_and_gradient(xi)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), xi)[0], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(objective.value(xi), expected.detach(), rtol=1e-9, atol=0)


def test_mean_smoothing_and_loss_smoothing_differ_by_the_spread_of_the_draws() -> None:
    """E ||f_S - x||² = ||E f - x||² + tr Cov / S for the mean f_S of S draws; the mean of losses has tr Cov in full. For
    f = A^T y with orthonormal rows: tr Cov = m sigma²."""
    operator, sigma, n_samples, repeats = BlockGaussian(0.5, block=4), 0.3, 5, 20000
    x = torch.rand(1, 1, 4, 4).expand(repeats, 1, 4, 4)
    noise = torch.randn(repeats, n_samples, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    bias = float(mse(operator.A_adjoint(operator.A(x[:1])), x[:1]))
    for smoothing, share in (("mean", 1 / n_samples), ("loss", 1.0)):
        objective = SmoothedError(Gain(), operator, x, None, sigma, lambda: noise, smoothing)
        value = float(objective.value(torch.zeros_like(x)).mean())
        assert value == pytest.approx(bias + share * 8 * sigma**2 / 16, rel=0.01)


@pytest.mark.parametrize("noise", ["fresh", "shared"])
def test_smoothed_adversarial_training_draws_and_updates_as_it_says(noise: str) -> None:
    spy = Gain(0.5)
    trained = alone("SmtAdv", spy, eps=0.3, n_iter=3, sigma=20 / 255, n_samples=4, noise=noise)
    operator, x = trained.train_operators[0], torch.rand(2, 1, 8, 8)
    b = 0.02 * torch.randn(operator.A(x).shape)
    loss = trained.accumulate_gradients(x, b, operator, 0)
    measured = [y for y, *_ in spy.seen]
    assert [len(y) for y in measured[:3]] == [8, 8, 8]
    seen = [(y.unflatten(0, (2, 4)) - y.unflatten(0, (2, 4)).mean(1, keepdim=True)) for y in measured[:3]]
    assert torch.allclose(seen[0], seen[1], atol=1e-5) == (noise == "shared")
    last = measured[-1]
    xi = trained.last_xi if trained.last_xi is not None else None
    assert xi is None
    if noise == "fresh":  # Algorithm 1: the weights are updated without smoothing noise
        assert len(last) == 2
        torch.testing.assert_close(loss, mse(0.5 * operator.A_adjoint(last), x).mean())
    else:
        assert len(last) == 8
        mean = 0.5 * operator.A_adjoint(last).unflatten(0, (2, 4)).mean(1)
        torch.testing.assert_close(loss, mse(mean, x).mean())


@pytest.mark.parametrize("n_samples", [1, 4, 5])
def test_antithetic_draws_cancel(n_samples: int) -> None:
    """Pairs delta, -delta: for a linear f an even number has the mean f without noise, and its attack."""
    trained = alone("SmtAdv", Linear(), eps=0.3, n_iter=3, sigma=0.2, n_samples=n_samples, antithetic=True)
    operator, x = trained.train_operators[0], torch.rand(2, 1, 8, 8)[:, :, :4, :4]
    objective = trained.objective(x, torch.zeros_like(operator.A(x)), operator)
    noise = objective.draw()
    assert noise.shape == (2, n_samples, 1, 4, 4)
    torch.testing.assert_close(noise.sum(1), noise[:, n_samples // 2] if n_samples % 2 else torch.zeros_like(x))
    if n_samples % 2 == 0:
        plain = alone("Adv", trained.estimator, eps=0.3, n_iter=3)
        xi = plain.attack(x, plain.objective(x, torch.zeros_like(operator.A(x)), operator))
        torch.testing.assert_close(trained.attack(x, objective), xi, rtol=1e-3, atol=1e-4)


def test_smoothed_gradient_training_by_hand() -> None:
    """x_hat = g (x + sigma_j delta + b) and plain gradient descent: every one of the T_step updates computed by hand."""
    net = Gain(0.2)
    trained = alone("SmtGrad", net, {"train_operators": [Identity()]}, sigma=0.1, n_samples=5, t_step=3, chunk_size=2)
    x, b = torch.rand(4, 1, 8, 8), 0.05 * torch.randn(4, 1, 8, 8)
    g, rate = 0.2, 0.5
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for j in range(3):
        optimizer.zero_grad()
        loss = trained.accumulate_gradients(x, b, Identity(), j)
        z = (x + b)[:, None] + (j + 1) / 3 * 0.1 * trained.draw((4, 5, 1, 8, 8), "delta", j)
        error = g * z - x[:, None]
        assert float(loss) == pytest.approx(float(error.square().mean()), rel=1e-5)
        g -= rate * float((2 * error * z).mean())
        optimizer.step()
        assert float(net.gain.detach()) == pytest.approx(g, rel=1e-5)


def test_averaged_gradients_are_the_gradient_of_the_averaged_loss() -> None:
    """The paper calls loss smoothing the less effective variant of Algorithm 2; by linearity it is the same step."""
    gradients = []
    for smoothing, chunk_size in (("gradient", 1), ("gradient", 3), ("loss", None)):
        trained = alone(
            "SmtGrad", None, sigma=20 / 255, n_samples=5, t_step=2, smoothing=smoothing, chunk_size=chunk_size
        )
        operator, x = trained.train_operators[0], torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        trained.accumulate_gradients(x, torch.zeros_like(operator.A(x)), operator, 1)
        gradients.append(torch.cat([p.grad.flatten() for p in trained.estimator.parameters()]))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("Ord", {"compute_match": "adv"}, "compute_match='adv'"),
        ("Ord", {"compute_match": "smt_grad", "t_step": 0}, "t_step=0"),
        ("Adv", {"eps": -1.0}, "eps=-1.0"),
        ("Adv", {"n_iter": 0}, "n_iter=0"),
        ("Adv", {"eps_warmup": -1}, "eps_warmup=-1"),
        ("Adv", {"init": "random"}, "init='random' is not allowed; allowed: zero, sphere, residual"),
        ("Adv", {"history": -1}, "history=-1"),
        ("Adv", {"inner_precision": "fp16"}, "inner_precision='fp16' is not allowed; allowed: fp32, bf16"),
        ("Jcb", {"beta": -1.0}, "beta=-1.0"),
        ("Jcb", {"gamma": 0.0}, "gamma=0.0"),
        ("Jcb", {"norm": "nuclear"}, "norm='nuclear' is not allowed; allowed: spectral, frobenius"),
        ("Jcb", {"reduce": "sum"}, "reduce='sum'"),
        ("Jcb", {"n_iter": 0}, "n_iter=0"),
        ("SmtAdv", {"n_samples": 0}, "n_samples=0"),
        ("SmtAdv", {"sigma": -1.0}, "sigma=-1.0"),
        ("SmtAdv", {"smoothing": "median"}, "smoothing='median' is not allowed; allowed: mean, loss"),
        ("SmtAdv", {"noise": "none"}, "noise='none' is not allowed; allowed: fresh, shared"),
        ("SmtAdv", {"chunk_size": 0}, "chunk_size=0"),
        ("SmtGrad", {"t_step": 0}, "t_step=0"),
        ("SmtGrad", {"n_samples": 0}, "n_samples=0"),
        ("SmtGrad", {"smoothing": "mean"}, "smoothing='mean' is not allowed; allowed: gradient, loss"),
    ],
)
def test_bad_settings(name: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alone(name, **SETTINGS[name] | change)


def test_jacobian_training_needs_an_adjoint() -> None:
    class Forward(torch.nn.Module):
        ratio = 1.0

        def A(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(ValueError, match="adjoint"):
        alone("Jcb", None, {"train_operators": [Forward()]})


def test_worst_case_oracle_itself() -> None:
    """For J = I the worst case is a step of eps along the residual."""
    assert worst_case(np.eye(3), np.array([3.0, 4.0, 0.0]), 2.0) == pytest.approx(49.0)
    assert math.isclose(worst_case(2 * np.eye(2), np.array([1.0, 0.0]), 1.0), 9.0, rel_tol=1e-6)
