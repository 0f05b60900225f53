from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from invsmooth.attacks import APGD, Target, apgd, noise, pgd
from invsmooth.attacks.apgd import checkpoints
from invsmooth.data.decode import read_image
from invsmooth.estimators import DPDNN, ISTANetPP, load_checkpoint
from invsmooth.metrics import mse, psnr
from invsmooth.operators import BlockGaussian, Identity
from tests.attacks.oracles import Linear, Waves
from tests.checks.cases import check_error


def test_checkpoints_by_hand() -> None:
    """Croce & Hein 2020, section 3.3: p_1 = 0.22, and the intervals shrink by 0.03 down to 0.06."""
    assert checkpoints(100) == [0, 22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [0, 3, 5, 6, 7, 8, 9]
    assert checkpoints(1) == [0]


@pytest.mark.parametrize("init", ["zero", "sphere"])
@pytest.mark.parametrize("eps", [0.05, 0.5, 3.0])
def test_reaches_the_worst_case_of_a_linear_estimator(problem: Linear, eps: float, init: str) -> None:
    found = apgd(problem.estimator, problem.operator, problem.x, problem.b, eps=eps, n_iter=100, init=init)
    for i in range(3):
        best = problem.worst_case(i, eps)
        assert 0.99 * best <= float(found.loss[i]) <= best * (1 + 1e-4)
    assert (found.xi.flatten(1).norm(dim=1) <= eps * (1 + 1e-6)).all()


def algorithm_1(
    f: Callable[[np.ndarray], float],
    slope: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    eps: float,
    n_iter: int,
) -> tuple[float, int]:
    """Croce & Hein 2020, Algorithm 1, line by line, for one image. Returns f_max and how often the step was halved."""

    def gradient(v: np.ndarray) -> np.ndarray:
        g = slope(v)
        return g / np.linalg.norm(g)

    def project(v: np.ndarray) -> np.ndarray:
        return v * min(1, eps / max(np.linalg.norm(v), 1e-12))

    marks = checkpoints(n_iter)
    eta, halvings = 2 * eps, 0
    points = [start, project(start + eta * gradient(start))]
    values = [f(points[0]), f(points[1])]
    best = max(range(2), key=lambda k: values[k])
    x_max, f_max = points[best], values[best]
    eta_at, f_max_at, rises, last_mark = eta, values[0], int(values[1] > values[0]), 0
    for k in range(1, n_iter):
        if k in marks:
            without_rise = rises < 0.75 * (k - last_mark)
            without_gain = eta_at == eta and f_max_at == f_max
            eta_at, f_max_at, rises, last_mark = eta, f_max, 0, k
            if without_rise or without_gain:
                eta, halvings, points[k], values[k] = eta / 2, halvings + 1, x_max, f_max
        z = project(points[k] + eta * gradient(points[k]))
        points.append(project(points[k] + 0.75 * (z - points[k]) + 0.25 * (points[k] - points[k - 1])))
        values.append(f(points[k + 1]))
        rises += values[k + 1] > values[k]
        if values[k + 1] > f_max:
            x_max, f_max = points[k + 1], values[k + 1]
    return f_max, halvings


@pytest.mark.parametrize("n_iter", [1, 7, 30, 100])
def test_against_the_published_algorithm_image_by_image(n_iter: int) -> None:
    objective, eps = Waves(5), 1.3
    start = 0.1 * torch.randn(5, 1, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    xi, loss = APGD(n_iter=n_iter).ascend(objective, start, eps)
    halvings = []
    for i in range(5):
        expected, n = algorithm_1(*objective.of_image(i), start[i].flatten().numpy(), eps, n_iter)
        assert float(loss[i]) == pytest.approx(expected, rel=1e-9)
        halvings.append(n)
    torch.testing.assert_close(objective.value(xi), loss)
    if n_iter == 100:  # the case is one that has them, and not the same for all
        assert len(set(halvings)) > 1


def test_counts_traces_and_eps_zero() -> None:
    net, operator = ISTANetPP(2, 4), BlockGaussian(0.5, block=8)
    net.train()
    x = torch.rand(2, 1, 16, 16)
    found = apgd(net, operator, x, eps=0.3, n_iter=6, restarts=2)
    assert (found.grad_evals, found.network_evals) == (12, 14)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    nothing = apgd(net, operator, x, eps=0, n_iter=5)
    assert nothing.xi.abs().max() == 0
    assert (nothing.grad_evals, nothing.network_evals) == (0, 1)


def test_loss_is_that_of_xi_and_images_do_not_meet() -> None:
    net, operator = DPDNN(1, 4, eta=0.2), Identity()
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1, 3]).view(
        3, 1, 1, 1
    )
    found = apgd(net, operator, x, eps=1.0, n_iter=12)
    torch.testing.assert_close(found.loss, mse(net(x + found.xi, operator), x).detach())
    alone = apgd(net, operator, x[1:2], eps=1.0, n_iter=12)
    torch.testing.assert_close(found.loss[1:2], alone.loss, rtol=1e-4, atol=0)


def test_works_in_inference_mode() -> None:
    net, operator = ISTANetPP(1, 4), BlockGaussian(0.5, block=8)
    with torch.inference_mode():
        found = apgd(net, operator, torch.full((1, 1, 16, 16), 0.5), eps=0.1, n_iter=3)
    assert not found.xi.is_inference()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": -1}, "eps=-1"),
        ({"eps": math.inf}, "eps=inf"),
        ({"n_iter": 0}, "n_iter=0"),
        ({"restarts": 0}, "restarts=0"),
        ({"step_size": -1}, "step_size=-1"),
        ({"init": "random"}, "init='random' is not allowed; allowed: zero, sphere"),
    ],
)
def test_bad_arguments(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apgd(DPDNN(1, 4), Identity(), torch.rand(1, 1, 16, 16), **{"eps": 1, "n_iter": 3} | options)


@pytest.fixture(scope="module")
def published(shared_data):  # type: ignore[no-untyped-def]
    """The published network, ratio 0.1, and a function that cuts a square from a picture of Set11."""
    estimator = load_checkpoint(shared_data / "weights" / "istanetpp_paper_ord_100.pkl")

    def crop(name: str, side: int) -> torch.Tensor:
        return read_image(shared_data / "set11" / f"{name}.tif")[None, :, 66 : 66 + side, 66 : 66 + side]

    return estimator, BlockGaussian(0.1), crop


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "clean", "n_iter", "low", "high"),
    [
        (132, 27.55, 10, 17.15 - 0.35, 17.15 + 0.25),  # by how much another matrix Phi changes it
        (33, 26.53, 10, 17.00 - 0.1, 17.00 + 0.1),
        (33, 26.53, 20, 16.81 - 0.1, 16.81 + 0.1),
        (33, 26.53, 50, 16.79 - 0.1, 16.79 + 0.1),
    ],
)
def test_strength_on_the_published_network(  # type: ignore[no-untyped-def]
    published, side: int, clean: float, n_iter: int, low: float, high: float
) -> None:
    """A 132×132 crop at eps = 2.578, as a prototype of the same attack found it, with its own matrix Phi; and one of the
    size of the training patches, at the same eps/side, as ``algorithm_1`` above finds it with this network and matrix."""
    estimator, operator, crop = published
    x, eps = crop("boats", side), 2.578 * side / 132
    with torch.no_grad():
        assert float(psnr(estimator(operator.A(x), operator), x)) == pytest.approx(clean, abs=0.3)  # by Phi
    found = apgd(estimator, operator, x, eps=eps, n_iter=n_iter)
    assert low <= float(psnr(estimator(operator.A(x + found.xi), operator).detach(), x)) <= high
    if n_iter == 50:
        random = noise(estimator, operator, x, eps=eps, n_iter=3)
        assert float(random.loss) < 0.2 * float(found.loss)


@pytest.mark.slow
def test_fast_default_is_no_weaker_than_150_constant_steps(published) -> None:  # type: ignore[no-untyped-def]
    """20 plain cosine steps have, with five matrices Phi, 0.97 to 1.14 times the loss of the 150; with the one here
    that is 0.0198: ``pgd(…, n_iter=150, step_size=0.2 * 66 / 256)``. The config's 20 with a history have no less, and 10
    with a history nearly as much."""
    estimator, operator, crop = published
    x, eps = crop("boats", 66), 5.0 * 66 / 256
    plain = pgd(estimator, operator, x, eps=eps, n_iter=20, schedule="cosine")
    default = pgd(estimator, operator, x, eps=eps, n_iter=20, schedule="cosine", history=4)
    fast = pgd(estimator, operator, x, eps=eps, n_iter=10, schedule="cosine", history=4)
    assert (plain.loss >= 0.97 * 0.0198).all()
    assert (default.loss >= plain.loss).all()
    assert (fast.loss >= 0.95 * plain.loss).all()


@pytest.mark.slow
def test_a_smoothed_target_is_best_attacked_as_such(published) -> None:  # type: ignore[no-untyped-def]
    """eps = 0.5, sigma = 25/255, boats[66:99, 66:99]: with as many steps, the attack on the mean of draws does more harm to
    the mean over fresh draws than the attack on f does, and the attack on their median more to the median."""
    estimator, operator, crop = published
    x, sigma = crop("boats", 33), 25 / 255
    attacks = {
        kind: pgd(estimator, operator, x, eps=0.5, n_iter=10, schedule="cosine", target=Target(kind, sigma, 4))
        for kind in ("base", "mean", "median")
    }
    median, mean = {}, {}
    for kind, found in attacks.items():
        truth = check_error(
            estimator, operator, x, None, found.xi, certified=torch.zeros(1), sigma=sigma, n_samples=24
        )  # fmt: skip
        median[kind] = float(-10 * truth.estimate.log10())
        unseen = Target("mean", sigma, 24).objective(estimator, operator, x, None, seed=1)
        mean[kind] = float(-10 * unseen.value(found.xi).log10())
    assert mean["mean"] < mean["base"] - 0.3
    assert median["median"] < median["base"] - 0.2
    assert mean["mean"] < mean["median"]
