"""Wiener filter and wavelet shrinkage against closed forms and scikit-image; BM3D, where its package is installed."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch
from skimage.restoration import wiener as skimage_wiener
from torch import Tensor

from invsmooth import certify
from invsmooth.attacks import noise as noise_attack
from invsmooth.attacks import pgd
from invsmooth.core.errors import NoConstant, PremiseError
from invsmooth.estimators import BM3D, Ridge, WaveletShrinkage, Wiener, bm3d
from invsmooth.estimators.premises import checked
from invsmooth.estimators.wavelet import LOW_PASS, responses
from invsmooth.estimators.wiener import mirrored, unmirrored
from invsmooth.lipschitz.constants import lipschitz_constant
from invsmooth.metrics import psnr
from invsmooth.operators import BlockGaussian, Blur, Identity
from tests.estimators.lipschitz_conformance import images, noise

SIGMA_B = 15 / 255


@pytest.fixture(scope="module")
def noisy() -> Tensor:
    return images((20, 17)) + SIGMA_B * noise((3, 1, 20, 17), 1)


def test_mirror_is_twice_an_isometry(noisy: Tensor) -> None:
    assert mirrored(noisy).shape == (3, 1, 40, 34)
    assert mirrored(noisy).norm() == pytest.approx(2 * float(noisy.norm()))
    torch.testing.assert_close(unmirrored(mirrored(noisy)), noisy)
    z = noise((3, 1, 40, 34), 5)
    torch.testing.assert_close((mirrored(noisy) * z).sum(), 4 * (noisy * unmirrored(z)).sum())


def test_wiener_multiplies_each_frequency_of_the_mirrored_image() -> None:
    """Cosines of half periods are the eigenvectors of the mirrored Laplacian: 4 sin²(pi k / 2n)."""
    f, n = Wiener(0.3, 2.0), 12
    for k in range(n):
        wave = torch.cos(math.pi * k * (torch.arange(n, dtype=torch.float64) + 0.5) / n)
        y = wave.expand(1, 1, 5, n)
        expected = y / (1 + 0.3 * 4 * math.sin(math.pi * k / (2 * n)) ** 2)
        torch.testing.assert_close(f(y, Identity()), expected)
        torch.testing.assert_close(f(y.mT, Identity()), expected.mT)


def test_wiener_with_exponent_0_is_ridge(noisy: Tensor) -> None:
    blur = Blur("motion", 5, 30).double()
    for operator in (Identity(), blur):
        y = operator.A(noisy)
        exact = Ridge(0.1, n_iter=1000, tolerance=1e-12)(y, operator)
        torch.testing.assert_close(Wiener(0.1, 0.0)(y, operator), exact, atol=1e-9, rtol=0)


def test_wiener_with_exponent_4_is_that_of_scikit_image(noisy: Tensor) -> None:
    """Whose image is periodic, as the blur here. Its point spread function has to be as large as the image."""
    blur = Blur("motion", 5, 30).double()
    y, kernel = blur.A(noisy), blur.weight[0, 0].numpy()
    for given, found in zip(y[:, 0].numpy(), Wiener(0.02, 4.0)(y, blur)[:, 0], strict=True):
        expected = skimage_wiener(given, kernel, 0.02, clip=False)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_wiener_solves_its_problem(noisy: Tensor) -> None:
    """The gradient of ||A x - y||² + alpha sum l |x^|² / n is zero at the solution: exponent 2, x^T L x of the Laplacian."""
    blur = Blur("gaussian", 1.2).double()
    x = Wiener(0.05, 2.0)(noisy, blur)
    laplacian = 4 * x - sum(x.roll(step, axis) for axis in (2, 3) for step in (1, -1))
    residual = blur.A_adjoint(blur.A(x) - noisy) + 0.05 * laplacian
    assert residual.norm() < 1e-6 * noisy.norm()


@pytest.mark.parametrize(("kernel", "width"), [("gaussian", 1.5), ("uniform", 5), ("motion", 9)])
@pytest.mark.parametrize("alpha", [0.4, 0.01, 1e-4])
def test_gain_of_a_deconvolution_is_bounded_closely(kernel, width: float, alpha: float) -> None:
    """Against the gains themselves for images of several sizes."""
    f, blur = Wiener(alpha, 2.0), Blur(kernel, width, 20).double()
    largest = 0.0
    for size in ((64, 64), (61, 80), (256, 251)):
        point = torch.zeros(1, 1, *size, dtype=torch.float64)
        point[..., 0, 0] = 1
        largest = max(largest, float(torch.fft.fft2(f(point, blur)).abs().max()))
    assert largest <= f.lipschitz(blur) <= 1.1 * largest
    assert lipschitz_constant(f, blur) == pytest.approx(1.0)


@pytest.mark.parametrize("wavelet", LOW_PASS)
def test_wavelet_filters_are_orthonormal(wavelet) -> None:
    h = np.array(LOW_PASS[wavelet])
    assert h.sum() == pytest.approx(math.sqrt(2), abs=1e-12)
    for shift in range(0, len(h), 2):
        assert h[shift:] @ h[: len(h) - shift] == pytest.approx(float(shift == 0), abs=1e-12)
    # Vanishing moments: haar 1, db2 2, sym4 4.
    high = h[::-1] * (-1.0) ** np.arange(len(h))
    for power in range(len(h) // 2):
        assert (np.arange(len(h)) ** power) @ high == pytest.approx(0.0, abs=1e-7)
    for low, high_pass in responses(wavelet, 4, 30, torch.zeros(1, dtype=torch.float64)):
        torch.testing.assert_close(low.abs() ** 2 + high_pass.abs() ** 2, torch.ones(30, dtype=torch.float64))


def test_haar_shrinkage_is_the_mean_over_all_shifts(noisy: Tensor) -> None:
    """Of orthonormal transforms, block by block, on the mirrored image."""
    f, z = WaveletShrinkage(0.1, "haar", 1), mirrored(noisy)
    total = torch.zeros_like(z)
    for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
        a, b, c, d = (z.roll(shift, (2, 3))[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        coarse = (a + b + c + d) / 2
        details = [(a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]
        u, v, w = (torch.sign(x) * (x.abs() - 0.1).clamp_min(0) for x in details)
        back = torch.empty_like(z)
        parts = {(0, 0): coarse + u + v + w, (0, 1): coarse - u + v - w, (1, 0): coarse + u - v - w}
        for (i, j), part in {**parts, (1, 1): coarse - u - v + w}.items():
            back[..., i::2, j::2] = part / 2
        total += back.roll((-shift[0], -shift[1]), (2, 3))
    torch.testing.assert_close(f(noisy, Identity()), unmirrored(total / 4))


@pytest.mark.parametrize("wavelet", LOW_PASS)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_shrinkage_is_that_of_pywavelets(noisy: Tensor, wavelet, levels: int) -> None:
    """Whose stationary transform is not mirrored: the image given to it is."""
    pywt = pytest.importorskip("pywt")
    y = noisy[:1, :, :, :16]  # 2^3 divides the sides of its mirror image, 40 × 32
    found = WaveletShrinkage(0.1, wavelet, levels)(y, Identity())
    coefficients = pywt.swt2(mirrored(y)[0, 0].numpy(), wavelet, levels, trim_approx=True, norm=False)
    kept = [coefficients[0], *(tuple(pywt.threshold(c, 0.1, "soft") for c in level) for level in coefficients[1:])]
    expected = unmirrored(torch.from_numpy(pywt.iswt2(kept, wavelet))[None, None])
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_a_constant_image_stays_and_thresholds_shrink() -> None:
    flat = torch.full((1, 1, 9, 14), 0.3, dtype=torch.float64)
    torch.testing.assert_close(WaveletShrinkage()(flat, Identity()), flat)
    torch.testing.assert_close(Wiener()(flat, Identity()), flat)


@pytest.mark.parametrize("make", [Wiener, WaveletShrinkage])
def test_denoises_is_attacked_and_certified(make) -> None:
    x = images((32, 32))[:2].float()
    b = SIGMA_B * noise(x.shape, 1).float()
    f, operator = make(), Identity()
    assert (psnr(f(x + b, operator), x) > psnr(x + b, x) + 3).all()
    checked(f, operator, x + b, x)  # among other things: bit for bit the same alone and in a batch
    attacked = pgd(f, operator, x, b, eps=0.3, n_iter=5)
    moved = (f(x + attacked.xi + b, operator) - f(x + b, operator)).flatten(1).norm(dim=1)
    assert (moved <= 0.3 + 1e-5).all()
    assert (moved > 0.2).all()
    certificate = certify(f, operator, x + b, certifier="lipschitz", eps=[0.3], x=x)
    assert certificate.lipschitz == pytest.approx(1.0)
    error = (f(x + attacked.xi + b, operator) - x).square().mean((1, 2, 3))
    assert (error <= certificate.certified_error[:, 0]).all()


@pytest.mark.parametrize("make", [Wiener, WaveletShrinkage])
def test_rounding_is_below_what_is_declared(make, noisy: Tensor) -> None:
    """Of float32 against float64, in units of their rounding."""
    f = make()
    exact, rounded = f(noisy, Identity()), f(noisy.float(), Identity())
    distance = float((rounded.double() - f(noisy.float().double(), Identity())).flatten(1).norm(dim=1).max())
    declared = f.inexactness(Identity(), noisy, 0.0)
    assert exact.dtype == torch.float64
    assert 0 < distance < declared * 2.0**-24 / 2.0**-53
    assert declared < 1e-9


def test_other_operators_and_parameters_are_refused(noisy: Tensor) -> None:
    for f, operator in (
        (Wiener(), BlockGaussian(0.5, block=2).double()),
        (Wiener(), Blur(padding="zeros").double()),
        (WaveletShrinkage(), Blur().double()),
    ):
        for call in (f.lipschitz, lambda o, f=f: f(noisy, o), lambda o, f=f: f.inexactness(o, noisy, 1.0)):
            with pytest.raises(NoConstant, match="not for"):
                call(operator)
    for make, bad in ((Wiener, {"alpha": 0.0}), (Wiener, {"exponent": -1.0}), (WaveletShrinkage, {"threshold": 0.0}),
                      (WaveletShrinkage, {"levels": 0}), (WaveletShrinkage, {"wavelet": "db20"})):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(bad))):
            make(**bad)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, of which a rounded image stands for the answer: constant in y but for its steps, as BM3D nearly is."""

    class Package:
        @staticmethod
        def bm3d(plane: np.ndarray, sigma: float) -> np.ndarray:
            assert plane.ndim == 2
            assert plane.dtype == np.float64
            return np.round(plane / sigma) * sigma

    monkeypatch.setattr(bm3d, "package", Package)


@pytest.mark.usefixtures("stand_in")
def test_bm3d_takes_each_image_alone_and_gives_the_gradient_of_the_identity(noisy: Tensor) -> None:
    f = BM3D(0.1)
    y = noisy.clone().requires_grad_()
    x_hat = f(y, Identity())
    torch.testing.assert_close(x_hat.detach(), torch.round(noisy / 0.1) * 0.1)
    g = noise(noisy.shape, 3)
    (found,) = torch.autograd.grad(x_hat, y, g)
    assert torch.equal(found, g)
    checked(f, Identity(), noisy, noisy)


@pytest.mark.usefixtures("stand_in")
def test_bm3d_without_a_gradient_refuses_one_and_takes_noise(noisy: Tensor) -> None:
    f, b = BM3D(0.1, gradient="none"), torch.zeros_like(noisy)
    with pytest.raises(PremiseError, match="attack=noise"):
        pgd(f, Identity(), noisy, b, eps=0.3, n_iter=2)
    assert noise_attack(f, Identity(), noisy, b, eps=0.3, n_iter=2).xi.flatten(1).norm(dim=1).max() <= 0.3 + 1e-6
    assert certify(f, Identity(), noisy, sigma=0.1, eps=[0.05], n_samples=100, certifier="mean").bound.isfinite().all()
    with pytest.raises(NoConstant, match="BM3D"):
        lipschitz_constant(f, Identity())


@pytest.mark.usefixtures("stand_in")
def test_bm3d_refuses_what_it_cannot(noisy: Tensor) -> None:
    with pytest.raises(PremiseError, match="16×16 pixels"):
        BM3D()(noisy[..., :15], Identity())
    with pytest.raises(PremiseError, match="not for Blur"):
        BM3D()(noisy, Blur().double())
    for bad in ({"sigma": 0.0}, {"gradient": "adjoint"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            BM3D(**bad)


@pytest.mark.skipif(importlib.util.find_spec("bm3d") is not None, reason="the package is installed")
def test_bm3d_that_is_not_installed_is_said_before_any_work() -> None:
    with pytest.raises(PremiseError, match="pip install bm3d"):
        BM3D()


@pytest.mark.skipif(importlib.util.find_spec("bm3d") is None, reason="pip install bm3d: for non-commercial use only")
def test_bm3d_denoises_better_than_wavelets() -> None:
    x = images((64, 64))[:1]
    y = x + SIGMA_B * noise(x.shape, 1)
    assert psnr(BM3D()(y, Identity()), x) > psnr(WaveletShrinkage()(y, Identity()), x)
