"""LMMSE and its maps of blocks against independent computations in numpy."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.core.errors import PremiseError
from invsmooth.estimators import LMMSE, load_checkpoint
from invsmooth.estimators.block_linear import BlockLinear
from invsmooth.estimators.checkpoint import check_reloads
from invsmooth.lipschitz.constants import in_float64, inexactness, lipschitz_constant, training_constant
from invsmooth.operators import BlockGaussian, Identity, LinearOperator
from tests.estimators.test_linear import matrix_of, oblique, randn

SIDE, N = 4, 16


def smooth_images(n: int, size: tuple[int, int] = (8, 8), seed: int = 0) -> Tensor:
    """Gaussian images with pixels that correlate, mean 0.5."""
    h, w = size
    weights = torch.exp(-torch.linspace(0, 6, h)[:, None] - torch.linspace(0, 6, w)[None, :])
    waves = torch.fft.irfft2(torch.fft.rfft2(randn(n, 1, h, w, seed=seed)) * torch.fft.rfft2(weights.double()), s=size)
    return 0.5 + 0.2 * waves.cumsum(-1) / 3


def blocks_of(images: Tensor) -> np.ndarray:
    """The blocks (N, 16), cut by numpy."""
    array, h, w = images[:, 0].numpy(), images.shape[2] // SIDE, images.shape[3] // SIDE
    return array.reshape(-1, h, SIDE, w, SIDE).transpose(0, 1, 3, 2, 4).reshape(-1, N)


def fitted(operator: LinearOperator, sigma_b: float, limit: float | None = None) -> LMMSE:
    net = LMMSE(operator.ratio, SIDE, limit).double()
    net.fit(smooth_images(300), [operator], sigma_b)
    return net


def dense_map(net: LMMSE, operator: LinearOperator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and the offset of y -> f(y), on images of a size."""
    net, operator = in_float64(net), in_float64(operator)
    shape = operator.A(torch.zeros(1, 1, *size, dtype=torch.float64)).shape[1:]
    offset = net(torch.zeros(1, *shape, dtype=torch.float64), operator)
    units = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
    return (net(units, operator) - offset).flatten(1).T.numpy(), offset.flatten().numpy()


OPERATORS = {"identity": Identity(), "orthonormal": BlockGaussian(6 / 16, block=SIDE), "oblique": oblique()}


def test_without_noise_it_is_least_squares_regression_of_blocks_on_measurements() -> None:
    operator = OPERATORS["oblique"]
    x = blocks_of(smooth_images(300))
    y = x @ operator.phi.flatten(1).double().numpy().T
    coefficients = np.linalg.lstsq(np.c_[y, np.ones(len(y))], x, rcond=None)[0]
    found, offset = dense_map(fitted(operator, 0.0), operator, (SIDE, SIDE))
    np.testing.assert_allclose(found, coefficients[:-1].T, rtol=0, atol=1e-7)
    np.testing.assert_allclose(offset, coefficients[-1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", OPERATORS)
def test_it_is_the_conditional_mean_of_a_joint_gaussian(name: str) -> None:
    """E[x | y] = m_x - P_xx⁻¹ P_xy (y - m_y), P the inverse of the covariance of (x, y)."""
    operator, sigma_b = OPERATORS[name], 0.1
    x = blocks_of(smooth_images(300))
    phi = matrix_of(operator, (SIDE, SIDE))
    c = np.cov(x.T, bias=True)
    joint = np.block([[c, c @ phi.T], [phi @ c, phi @ c @ phi.T + sigma_b**2 * np.eye(len(phi))]])
    precision = np.linalg.inv(joint)
    w = -np.linalg.inv(precision[:N, :N]) @ precision[:N, N:]
    found, offset = dense_map(fitted(operator, sigma_b), operator, (SIDE, SIDE))
    np.testing.assert_allclose(found, w, rtol=0, atol=1e-7)
    np.testing.assert_allclose(offset, x.mean(0) - w @ phi @ x.mean(0), rtol=0, atol=1e-7)


def test_denoising_is_the_wiener_filter() -> None:
    values, vectors = np.linalg.eigh(np.cov(blocks_of(smooth_images(300)).T, bias=True))
    net = fitted(Identity(), 0.1)
    expected = vectors @ np.diag(values / (values + 0.01)) @ vectors.T
    np.testing.assert_allclose(dense_map(net, Identity(), (SIDE, SIDE))[0], expected, atol=1e-10)
    assert lipschitz_constant(net, Identity()) == pytest.approx(values[-1] / (values[-1] + 0.01))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("limit", [None, 0.7])
def test_constants_are_those_of_the_dense_maps(name: str, limit: float | None) -> None:
    """Exact on whole blocks, an upper bound on images with blocks that are partly pad."""
    operator = OPERATORS[name]
    net = fitted(operator, 0.05, limit).float()
    if limit is None:  # a map that training left with other singular vectors than Phi
        net.maps[0].weight.data += 0.2 * randn(*net.maps[0].weight.shape, seed=1).float()
    of_y, of_z = (lipschitz_constant(net, operator, threat) for threat in ("measurement", "signal"))
    for size in ((8, 12), (7, 10), (3, 5)):
        a, w = matrix_of(operator, size), dense_map(net, operator, size)[0]
        for bound, truth in ((of_y, np.linalg.norm(w, 2)), (of_z, np.linalg.norm(w @ a, 2))):
            assert truth <= bound
            assert size != (8, 12) or bound <= truth * (1 + 1e-7)
    if limit is not None:
        assert of_y == pytest.approx(limit, rel=1e-6)
    elif name == "oblique":
        assert of_z < 0.95 * of_y * operator.norm()


@pytest.mark.parametrize("name", OPERATORS)
def test_its_error_on_gaussian_images_is_the_smallest_possible(name: str) -> None:
    """The theoretical mean square error trace(C - C Phiᵀ (Phi C Phiᵀ + sigma_b² I)⁻¹ Phi C) on images that were not in the
    fit, and more for every other matrix."""
    operator, sigma_b = OPERATORS[name], 0.1
    mixing = randn(N, N, seed=3).tril() * torch.linspace(1, 0.05, N) / 5
    draw = lambda n, seed: (0.4 + randn(n, N, seed=seed) @ mixing.T).view(n, 1, SIDE, SIDE)  # noqa: E731
    net = LMMSE(operator.ratio, SIDE).double()
    net.fit(draw(20_000, 0), [operator], sigma_b)
    double, x = in_float64(operator), draw(20_000, 1)
    y = double.A(x)
    y = y + sigma_b * randn(*y.shape, seed=2)
    error = float((net(y, double) - x).detach().square().sum((1, 2, 3)).mean())
    phi, c = matrix_of(operator, (SIDE, SIDE)), (mixing @ mixing.T).numpy()
    gain = c @ phi.T @ np.linalg.inv(phi @ c @ phi.T + sigma_b**2 * np.eye(len(phi)))
    assert error == pytest.approx(np.trace(c - gain @ phi @ c), rel=0.03)
    for change in (0.9, 1.1):
        other = copy.deepcopy(net)
        other.maps[0].weight.data *= change
        assert float((other(y, double) - x).detach().square().sum((1, 2, 3)).mean()) > error


@pytest.mark.parametrize("name", OPERATORS)
def test_the_fit_within_a_limit_is_the_best_of_its_kind(name: str) -> None:
    """The error is convex in W. Over all matrices V with ||V|| <= limit it exceeds that of W by at least <gradient, V - W>,
    and the smallest <gradient, V> is -limit times the gradient's nuclear norm."""
    operator, sigma_b, limit = OPERATORS[name], 0.05, 0.7
    x, phi = blocks_of(smooth_images(300)), matrix_of(operator, (SIDE, SIDE))
    c = np.cov(x.T, bias=True)
    of_y, cross = phi @ c @ phi.T + sigma_b**2 * np.eye(len(phi)), c @ phi.T
    free, w = (dense_map(fitted(operator, sigma_b, most), operator, (SIDE, SIDE)) for most in (None, limit))
    gradient = 2 * (w[0] @ of_y - cross)
    gap = np.sum(gradient * w[0]) + limit * np.linalg.norm(gradient, "nuc")
    error = lambda v: np.trace(v @ of_y @ v.T - 2 * v @ cross.T + c)  # noqa: E731
    u, s, v = np.linalg.svd(free[0], full_matrices=False)
    clipped = u @ np.diag(np.minimum(s, limit)) @ v
    assert np.linalg.norm(w[0], 2) <= limit * (1 + 1e-12)
    assert gap <= 1e-4 * error(w[0])
    assert error(free[0]) < error(w[0])
    if name == "identity":  # W has the singular vectors of C: clipping is the best
        np.testing.assert_allclose(w[0], clipped, atol=1e-5)
    else:
        assert error(w[0]) < 0.999 * error(clipped)
    mean = x.mean(0)  # is reconstructed exactly, whatever W
    np.testing.assert_allclose(w[0] @ phi @ mean + w[1], mean, atol=1e-10)
    loose = dense_map(fitted(operator, sigma_b, 100.0), operator, (SIDE, SIDE))
    np.testing.assert_allclose(loose[0], free[0], atol=1e-10)


def test_projection() -> None:
    """The singular values are cut at the limit, their vectors stay; what keeps the limit stays as it is."""
    operator = OPERATORS["orthonormal"]
    net = fitted(operator, 0.01, limit=1.2)
    before = copy.deepcopy(net.state_dict())
    net.maps[0].weight.data *= torch.linspace(0.5, 3, 6, dtype=torch.float64)[
        :, None, None, None
    ]  # an optimiser's step
    u, s, v = np.linalg.svd(dense_map(net, operator, (SIDE, SIDE))[0], full_matrices=False)
    assert (s > 1.2).any()
    assert (s < 1.2).any()
    net.project()
    found = dense_map(net, operator, (SIDE, SIDE))[0]
    np.testing.assert_allclose(found, u @ np.diag(np.minimum(s, 1.2)) @ v, atol=1e-10)
    assert lipschitz_constant(net, operator) == pytest.approx(1.2)
    net.load_state_dict({k: 0.9 * value for k, value in before.items()})
    net.project()
    assert torch.equal(net.maps[0].weight, 0.9 * before["maps.0.weight"])


@pytest.mark.parametrize("name", OPERATORS)
def test_images_of_any_size(name: str) -> None:
    operator, x = OPERATORS[name], smooth_images(2, (10, 7)).float()
    x_hat = fitted(operator, 0.01).float()(operator.A(x), operator)
    assert x_hat.shape == x.shape
    if name == "identity":  # the weakest noise: nearly the image itself, also in the blocks at the border
        assert float((x_hat - x).detach().abs().max()) < 0.1


def test_a_map_for_each_ratio() -> None:
    operators = [BlockGaussian(r, block=SIDE) for r in (0.25, 0.5)]
    net = LMMSE([0.25, 0.5], SIDE)
    with pytest.raises(PremiseError, match="was not fitted to training images"):
        net(torch.zeros(1, 4, 1, 1), operators[0])
    with pytest.raises(PremiseError, match="was not fitted"):
        lipschitz_constant(net, operators[0])
    net.fit(smooth_images(300).float(), operators[:1], 0.0)
    assert not net.fitted
    net.fit(smooth_images(300).float(), operators, 0.0)
    assert net.fitted
    for operator in operators:
        alone = LMMSE(operator.ratio, SIDE)
        alone.fit(smooth_images(300).float(), [operator], 0.0)
        y = operator.A(torch.rand(2, 1, 8, 8))
        assert torch.equal(net(y, operator), alone(y, operator))
        assert lipschitz_constant(net, operator) == lipschitz_constant(alone, operator)
    wrong = [
        (BlockGaussian(0.75, block=SIDE), r"for the ratios \[0\.25, 0\.5\], and not for 0\.75"),
        (
            BlockGaussian(0.5, block=8),
            r"8 measurements of each 4×4 block, and not for the operator BlockGaussian, ratio",
        ),
        (Identity(), r"and not for 1\.0"),
    ]
    for operator, message in wrong:
        for use in (lambda o: net(o.A(torch.rand(1, 1, 8, 8)), o), net.lipschitz, net.lipschitz_signal):
            with pytest.raises(PremiseError, match=message):
                use(operator)


def test_rounding_in_float64() -> None:
    """Against numbers of more digits, where numpy has them: far below any radius."""
    operator = in_float64(OPERATORS["orthonormal"])
    net = fitted(operator, 0.01)
    y = operator.A(smooth_images(3))
    rho = inexactness(net, operator, y, 1.0)
    assert 0 < rho < 1e-12
    w, c = (p.detach().numpy().astype(np.longdouble).reshape(-1, N) for p in (net.maps[0].weight, net.maps[0].offset))
    exact = np.einsum("bmij,mn->bnij", y.numpy().astype(np.longdouble), w) + c[0][None, :, None, None]
    found = torch.nn.functional.pixel_unshuffle(net(y, operator), SIDE).detach().numpy()
    assert np.linalg.norm((found - exact).astype(float).reshape(3, -1), axis=1).max() <= rho


def test_double_precision_copies_and_gradients() -> None:
    operator = OPERATORS["oblique"]
    net = fitted(operator, 0.05).float()
    double = in_float64(net)
    assert (double.maps[0].weight.dtype, net.maps[0].weight.dtype) == (torch.float64, torch.float32)
    y = operator.A(smooth_images(2).float())
    torch.testing.assert_close(net(y, operator).double(), double(y.double(), in_float64(operator)), rtol=0, atol=1e-5)
    constant = training_constant(net, operator)
    assert float(constant.detach()) == pytest.approx(
        lipschitz_constant(net, operator, "measurement") * operator.norm(), rel=1e-7
    )
    constant.backward()
    gradient = net.maps[0].weight.grad
    assert gradient is not None
    net.maps[0].weight.data += 1e-3 * gradient / gradient.norm()
    assert float(training_constant(net, operator).detach() - constant.detach()) == pytest.approx(
        1e-3 * float(gradient.norm()), rel=0.01
    )


def test_checkpoint(tmp_path: Path) -> None:
    operators = [BlockGaussian(r, block=SIDE) for r in (0.25, 0.5)]
    net = LMMSE([0.25, 0.5], SIDE, 2.0)
    net.fit(smooth_images(300).float(), operators, 0.0)
    description = {"_target_": "invsmooth.estimators.LMMSE", "ratios": [0.25, 0.5], "block": SIDE, "limit": 2.0}
    check_reloads(description, net, [])
    state = {f"estimator.{k}": v for k, v in net.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"estimator": description}}, tmp_path / "net.ckpt")
    loaded = load_checkpoint(tmp_path / "net.ckpt")
    for operator in operators:
        y = operator.A(torch.rand(1, 1, 8, 8))
        assert torch.equal(loaded(y, operator), net(y, operator))
        assert lipschitz_constant(loaded, operator) == lipschitz_constant(net, operator)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"ratio=50\.0 is not in \(0, 1\]; write 0\.5 for 50 %"):
        LMMSE([50])
    net = BlockLinear(0.25, 8)
    operator = BlockGaussian(0.25, block=8)
    with pytest.raises(ValueError, match=r"training patches of \(7, 40\) pixels hold no block of 8×8"):
        net.fit(torch.rand(3, 1, 7, 40), operator, 0.0)
    with pytest.raises(ValueError, match="found 5, all alike"):
        net.fit(torch.full((5, 1, 8, 8), 0.3), operator, 0.0)


def test_few_images_are_enough_for_a_fit() -> None:
    """Fewer blocks than measurements: the pseudoinverse. The training blocks themselves are reconstructed exactly."""
    operator = BlockGaussian(12 / 16, block=SIDE)
    x = smooth_images(5, (SIDE, SIDE))
    net = LMMSE(12 / 16, SIDE).double()
    net.fit(x, [operator], 0.0)
    double = in_float64(operator)
    torch.testing.assert_close(net(double.A(x), double), x, atol=1e-9, rtol=0)


def test_large_sets_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = OPERATORS["orthonormal"]
    at_once = fitted(operator, 0.1)
    monkeypatch.setattr("invsmooth.estimators.block_linear.IMAGES_AT_ONCE", 7)
    torch.testing.assert_close(fitted(operator, 0.1).state_dict(), at_once.state_dict(), rtol=0, atol=1e-10)
