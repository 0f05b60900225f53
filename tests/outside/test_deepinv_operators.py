"""Physics of deepinv as operators: adjoint, norm, noise, and what a certificate says where A is not orthonormal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.outside.deepinv_needed  # noqa: F401
from invsmooth import certify, pgd
from invsmooth.certificates.order_statistics import order_statistic_index, shifted_quantile
from invsmooth.core.errors import NoConstant
from invsmooth.estimators import DPDNN, MatchedFilter, Ridge
from invsmooth.lipschitz.constants import lipschitz_constant
from invsmooth.operators import DeepInv, as_operator
from invsmooth.operators.base import step_of
from tests.operators import conformance

SIDE = 16
SIZE = [1, SIDE, SIDE]
GAUSS = {"_target_": "deepinv.physics.functional.gaussian_blur", "sigma": [1.0, 1.0]}


def physics(name: str, **parameters: Any) -> dict[str, Any]:
    return {"_target_": f"deepinv.physics.{name}", **parameters}


STACKED = physics("StackedLinearPhysics", physics_list=[
    physics("Inpainting", img_size=SIZE, mask=0.5), physics("Downsampling", img_size=SIZE, factor=2, filter="gaussian"),
])  # fmt: skip
# With the largest factor between the proven norm and the true one; nan: none is proven.
PHYSICS = {
    "denoising": (physics("Denoising"), 1), "inpainting": (physics("Inpainting", img_size=SIZE, mask=0.5), 1),
    "blur_fft": (physics("BlurFFT", img_size=SIZE, filter=GAUSS), 1),
    "blur_circular": (physics("Blur", filter=GAUSS, padding="circular"), 1),
    "blur_valid": (physics("Blur", filter=GAUSS, padding="valid"), 2),
    "blur_reflect": (physics("Blur", filter=GAUSS, padding="reflect"), math.nan),
    "downsampling": (physics("Downsampling", img_size=SIZE, factor=2, filter="gaussian"), 1.01),
    "decimation": (physics("Downsampling", img_size=SIZE, factor=2, filter=None), 1),
    "mri": (physics("MRI", img_size=[1, 2, SIDE, SIDE]), 1),
    "multi_coil_mri": (physics("MultiCoilMRI", img_size=[SIDE, SIDE]), 1),
    "m_above_n": (physics("CompressedSensing", m=400, img_size=SIZE), 1),
    "m_below_n": (physics("CompressedSensing", m=50, img_size=SIZE), 1),
    "single_pixel": (physics("SinglePixelCamera", m=60, img_size=SIZE), 1),
    "tomography": (physics("Tomography", angles=10, img_width=SIDE, normalize=False), 1),
    "tomography_of_norm_1": (physics("Tomography", angles=10, img_width=SIDE, normalize=True, circle=True), 1),
    "stacked": (STACKED, 1),
}  # fmt: skip


def dense(operator: Any) -> Tensor:
    """Its matrix, (m, n), float64."""
    double = DeepInv(operator.physics, seed=operator.seed).double()
    return double.A(torch.eye(SIDE**2, dtype=torch.float64).reshape(-1, *SIZE)).flatten(1).T


@pytest.mark.parametrize("name", PHYSICS)
def test_conformance_and_norm(name: str) -> None:
    described, largest = PHYSICS[name]
    operator = DeepInv(described)
    conformance.check(operator, [(SIDE, SIDE)])
    exact = float(torch.linalg.matrix_norm(dense(operator), 2))
    if math.isnan(largest):
        with pytest.raises(NoConstant, match=r"give operator\.bound"):
            operator.norm()
    else:
        assert exact <= operator.norm() <= exact * largest * (1 + 1e-5)


def test_the_noise_of_a_physics_is_not_added() -> None:
    noisy = physics("Denoising", noise_model={"_target_": "deepinv.physics.GaussianNoise", "sigma": 0.5})
    x = torch.rand(1, *SIZE)
    assert torch.equal(DeepInv(noisy).A(x), x)
    assert torch.equal(DeepInv(noisy)(x), x)
    assert not torch.equal(DeepInv(noisy).made(x), x)


def test_mri_of_real_images() -> None:
    mask = torch.ones(SIDE, SIDE)
    mask[:, ::2] = 0
    import deepinv

    operator = as_operator(deepinv.physics.MRI(mask=mask))
    x = torch.rand(1, *SIZE)
    y = operator.A(x)
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x[0, 0].double().numpy()), norm="ortho")) * mask.numpy()
    assert np.allclose((y[0, 0] + 1j * y[0, 1]).numpy(), spectrum, atol=1e-5)
    assert operator.A_adjoint(y).shape == x.shape
    both = torch.rand(1, 2, SIDE, SIDE)  # images that are complex already
    assert operator.A_adjoint(operator.A(both)).shape == both.shape


def test_a_scaled_physics_is_the_same_to_a_network() -> None:
    """DPDNN weighs A^T with 1/||A||²."""
    import deepinv

    kernel = deepinv.physics.functional.gaussian_blur(sigma=(1.0, 1.0))
    one, five = (as_operator(deepinv.physics.Blur(filter=c * kernel, padding="circular")) for c in (1, 5))
    x, network = torch.rand(1, *SIZE), DPDNN(2, 4, 1)
    assert step_of(five) == pytest.approx(1 / 25, rel=1e-4)
    torch.testing.assert_close(network(five.A(x), five), network(one.A(x), one), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (physics("PhaseRetrieval"), r"physics deepinv\.physics\.PhaseRetrieval is not linear"),
        (physics("Haze"), r"physics deepinv\.physics\.Haze is not linear"),
        (physics("Inpainting", img_size=SIZE, msk=0.5), r"\{'msk': 0.5\} are passed to Inpainting but are ignored"),
        (physics("Inpainting", img_size=SIZE), r"fails on images of shape \(1, 16, 16\)"),
        (physics("Denoising", sensor_model={"_target_": "torch.nn.ReLU"}), "has a sensor model, which is not linear"),
    ],
)
def test_refused(described: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DeepInv(described)


def test_physics_objects() -> None:
    import deepinv

    one, two = (as_operator(deepinv.physics.Blur(filter=torch.ones(1, 1, k, k) / k**2)) for k in (2, 3))
    assert isinstance(one, DeepInv)
    assert one.sha256() != two.sha256()
    with pytest.raises(ValueError, match="is not linear"):
        as_operator(deepinv.physics.Haze())


def test_an_adjoint_with_errors_proves_nothing_and_is_certified_by_draws() -> None:
    described = physics("Tomography", angles=10, img_width=SIDE, normalize=False, adjoint_via_backprop=False)
    operator = DeepInv(described)
    for one in (operator, DeepInv(described, bound=20.0)):
        with pytest.raises(NoConstant, match="A_adjoint is not the adjoint of A"):
            lipschitz_constant(MatchedFilter(), one)
    y = operator.A(torch.rand(1, *SIZE))
    assert certify(Ridge(1.0), operator, y, sigma=0.1, eps=[0.05], n_samples=100).bound.isfinite().all()


def problem() -> tuple[DeepInv, Tensor, Tensor, Tensor]:
    """A with m > n, x, y, and its matrix."""
    operator = DeepInv(PHYSICS["m_above_n"][0])
    x = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0))
    return operator, x, operator.A(x), dense(operator)


@pytest.mark.parametrize("threat", ["signal", "measurement"])
def test_lipschitz_certificate_is_the_closed_form(threat: str) -> None:
    """f = A^T: ||A||² eps for a change of z, ||A|| eps for one of y. Both are attained."""
    operator, x, y, matrix = problem()
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    from invsmooth.certificates.lipschitz import Lipschitz

    found = certify(MatchedFilter(), operator, y, sigma=0.1, eps=[0.5], n_samples=10, x=x, certifier=Lipschitz(threat))  # type: ignore[arg-type]
    constant = norm**2 if threat == "signal" else norm
    assert norm > 1.5  # so that the two differ
    assert float(found.bound[0, 0]) == pytest.approx((constant * 0.5) ** 2 / SIDE**2, rel=1e-4)


def test_ridge_in_signal_space_is_the_closed_form() -> None:
    operator, _, _, matrix = problem()
    s = float(torch.linalg.matrix_norm(matrix, 2))
    assert lipschitz_constant(Ridge(0.5), operator) == pytest.approx(s**2 / (s**2 + 0.5), rel=1e-5)


def test_certificate_by_draws_is_about_noise_on_the_image() -> None:
    """f = A^T, draws f(y + A delta): their errors are ||A^T A delta||²/n. The bound is their order statistic of rank K, here
    compared with quantiles of many errors that are computed from the matrix; it holds under the worst change."""
    operator, _, y, matrix = problem()
    sigma, eps, n_samples = 0.1, 0.1, 400
    found = float(certify(MatchedFilter(), operator, y, sigma=sigma, eps=[eps], n_samples=n_samples).bound[0, 0])
    gram = matrix.T @ matrix
    delta = sigma * torch.randn(20000, SIDE**2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = (delta @ gram).square().mean(1)
    rank = order_statistic_index(n_samples, shifted_quantile(0.5, eps, sigma), 0.99)
    assert rank is not None
    spread = 4 * math.sqrt(n_samples) / 2
    low, high = (float(errors.quantile(min(max((rank + d) / n_samples, 0), 1))) for d in (-spread, spread))
    assert low <= found <= high
    worst = eps * torch.linalg.eigh(gram).eigenvectors[:, -1]
    assert float(((delta + worst) @ gram).square().mean(1).median()) <= found


def test_attack_reaches_the_closed_form() -> None:
    """f = A^T with error e = (A^T A - I) x: no change moves the error above ||e|| + ||A||² eps."""
    operator, x, _, matrix = problem()
    gram, eps = matrix.T @ matrix, 0.5
    error = float((gram @ x.double().flatten() - x.double().flatten()).norm())
    top = float(torch.linalg.eigvalsh(gram)[-1]) * eps
    attacked = pgd(MatchedFilter(), operator, x, eps=eps, n_iter=100)
    reached = float(((gram @ (x + attacked.xi).double().flatten()) - x.double().flatten()).norm())
    assert math.hypot(error, top) * (1 - 1e-3) <= reached <= error + top
    assert float(attacked.xi.norm()) <= eps * (1 + 1e-5)
