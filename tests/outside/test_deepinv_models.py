"""Models of deepinv attacked and certified; ours inside deepinv."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tests.outside.deepinv_needed  # noqa: F401
from invsmooth import certify, pgd
from invsmooth.core.errors import PremiseError
from invsmooth.estimators import DPDNN, DeepInvModel, Ridge, to_deepinv
from invsmooth.estimators.deepinv import physics_of
from invsmooth.metrics import mse, mse_to_psnr
from invsmooth.operators import BlockGaussian, DeepInv, Fourier, Identity, LinearOperator, SuperResolution

import deepinv  # isort: skip

models, optim = deepinv.models, deepinv.optim
SIDE = 16
MRI = {"_target_": "deepinv.physics.MRI", "img_size": [1, 2, SIDE, SIDE]}
COMPRESSED = {"_target_": "deepinv.physics.CompressedSensing", "m": 300, "img_size": [1, SIDE, SIDE]}


def image(seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")


def dncnn(channels: int = 1) -> Any:
    torch.manual_seed(0)
    return models.DnCNN(in_channels=channels, out_channels=channels, depth=3, nf=4, pretrained=None)


DENOISERS = {
    "tv": (lambda: models.TVDenoiser(n_it_max=50), 0.05), "wavelet": (models.WaveletDenoiser, 0.05),
    "median": (lambda: models.MedianFilter(3), None), "bilateral": (models.BilateralFilter, None),
    "bm3d": (lambda: models.BM3D(use_legacy=False), 0.05), "dncnn": (dncnn, 0.05),
    "ffdnet": (lambda: models.FFDNet(n_conv_layers=3, nf=4, pretrained=None), 0.05),
}  # fmt: skip


@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers(name: str) -> None:
    make, sigma = DENOISERS[name]
    certified(DeepInvModel(make(), sigma), Identity())


def tv(**parameters: Any) -> Any:
    return models.TVDenoiser(n_it_max=20, **parameters)


RECONSTRUCTORS = {
    "artifact_removal": lambda: models.ArtifactRemoval(tv(), mode="pinv"),
    "unfolded": lambda: optim.PGD(
        data_fidelity=optim.L2(),
        prior=optim.PnP(models.MedianFilter(3)),
        stepsize=0.2,
        max_iter=3,
        unfold=True,
        g_param=0.05,
    ),
    "warm_start_with_weights": lambda: optim.HQS(
        data_fidelity=optim.L2(), prior=optim.PnP(tv(crit=0)), stepsize=1.0, g_param=0.05, max_iter=2, unfold=True
    ),
}


@pytest.mark.parametrize("name", RECONSTRUCTORS)
@pytest.mark.parametrize(
    "operator",
    [BlockGaussian(0.5, block=8), SuperResolution(), Fourier(0.5), DeepInv(MRI), DeepInv(COMPRESSED)],
    ids=["cs", "super_resolution", "fourier", "deepinv_mri", "deepinv_cs"],
)
def test_reconstructors(name: str, operator: LinearOperator) -> None:
    certified(DeepInvModel(RECONSTRUCTORS[name](), sigma=0.05), operator)


@pytest.mark.parametrize("operator", [BlockGaussian(0.5, block=8), DeepInv(COMPRESSED)], ids=["ours", "deepinv"])
def test_unrolled_network(operator: LinearOperator) -> None:
    certified(DeepInvModel(models.MoDL(denoiser=dncnn(), num_iter=2)), operator)


def test_networks_for_mri_take_two_channels() -> None:
    certified(DeepInvModel(models.MoDL(denoiser=dncnn(2), num_iter=2)), DeepInv(MRI))


def certified(estimator: nn.Module, operator: LinearOperator) -> None:
    """The attack moves the image, within its ball; the certificate is finite and not 0."""
    x = image()
    y = operator.A(x)
    attacked = pgd(estimator, operator, x, eps=0.2, n_iter=3)
    assert 0 < float(attacked.xi.norm()) <= 0.2 * (1 + 1e-5)
    found = certify(estimator, operator, y, sigma=0.1, eps=[0.05], n_samples=30, confidence=0.9)
    assert 0 < float(found.bound[0, 0]) < 1e6
    assert estimator(y, operator).shape == x.shape


def test_a_reconstructor_gets_the_physics_and_its_noise() -> None:
    class Look(models.Reconstructor):  # type: ignore[misc]
        def forward(self, y: Tensor, physics: Any, **_: Any) -> Tensor:
            self.seen = physics
            found: Tensor = physics.A_adjoint(y)
            return found

    operator = DeepInv(MRI)
    look = Look()
    y = operator.A(image())
    DeepInvModel(look)(y, operator)
    assert look.seen is operator.made
    answer = DeepInvModel(look, sigma=0.25)(y, operator)
    assert float(look.seen.noise_model.sigma) == 0.25
    assert type(operator.made.noise_model).__name__ == "ZeroNoise"  # as before
    torch.testing.assert_close(answer, operator.A_adjoint(y))
    DeepInvModel(look, sigma=0.25)(image(), Identity())
    assert float(look.seen.noise_model.sigma) == 0.25


def test_our_operators_have_what_deepinv_uses() -> None:
    """A_dagger and prox_l2 against the matrix."""
    operator = BlockGaussian(0.5, block=8)
    x = image()
    y, z = operator.A(x), image(1)
    physics = physics_of(operator, y)
    matrix = operator.A(torch.eye(SIDE**2).reshape(-1, 1, SIDE, SIDE)).flatten(1).T
    expected = (torch.linalg.pinv(matrix) @ y.flatten()).reshape(x.shape)
    torch.testing.assert_close(physics.A_dagger(y), expected, atol=1e-3, rtol=1e-3)
    system = matrix.T @ matrix + torch.eye(SIDE**2) / 3
    solved = torch.linalg.solve(system, matrix.T @ y.flatten() + z.flatten() / 3).reshape(x.shape)
    torch.testing.assert_close(physics.prox_l2(z, y, 3.0), solved, atol=1e-3, rtol=1e-3)
    assert float(physics_of(operator, y, 0.1).noise_model.sigma) == pytest.approx(0.1)


def test_each_call_is_for_itself() -> None:
    """deepinv's TVDenoiser begins where its last call ended."""
    f = DeepInvModel(models.TVDenoiser(n_it_max=5), 0.1)
    y, other = image(), image(1)
    first = f(y, Identity())
    f(other, Identity())
    assert torch.equal(f(y, Identity()), first)
    warm = models.TVDenoiser(n_it_max=5)
    warm(other, 0.1)
    assert not torch.equal(warm(y, 0.1), first)


@pytest.mark.filterwarnings("ignore:The default interpolation mode will be changed")
def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="FFDNet takes a noise level: give sigma"):
        DeepInvModel(models.FFDNet(n_conv_layers=3, nf=4, pretrained=None))
    with pytest.raises(ValueError, match=r"torch\.nn\.\S+ is no Reconstructor and no Denoiser"):
        DeepInvModel(nn.Identity())
    turned = models.EquivariantDenoiser(models.MedianFilter(3), transform=deepinv.transform.Rotate(n_trans=1))
    with pytest.raises(PremiseError, match="random"):
        certify(DeepInvModel(turned, 0.1), Identity(), image(), sigma=0.1, eps=[0.05], n_samples=10)
    no_gradient = optim.PGD(data_fidelity=optim.L2(), prior=optim.TVPrior(n_it_max=5), stepsize=1.0, max_iter=2)
    with pytest.raises(ValueError, match="the attack needs gradients"):
        pgd(DeepInvModel(no_gradient), Identity(), image(), eps=0.1, n_iter=1)


def loader(*images: Tensor) -> Any:
    return torch.utils.data.DataLoader([{"x": x} for x in images], batch_size=1)


@pytest.mark.filterwarnings("ignore:non_blocking_transfers=True can only be used")
def test_ours_in_a_test_of_deepinv() -> None:
    """Its mean PSNR, of images that are not clipped, is that of our operator and estimator."""
    kernel = deepinv.physics.functional.gaussian_blur(sigma=(1.0, 1.0))
    physics = deepinv.physics.Blur(filter=kernel, padding="circular")
    images = [image(k)[0] for k in range(3)]
    found = deepinv.test(
        to_deepinv(Ridge(0.01)), loader(*images), physics, metrics=[deepinv.metric.PSNR()], verbose=False,
        show_progress_bar=False, device="cpu", online_measurements=True,
    )  # fmt: skip
    operator = DeepInv(physics)
    expected = [float(mse_to_psnr(mse(Ridge(0.01)(operator.A(x[None]), operator), x[None]))) for x in images]
    assert found["PSNR"] == pytest.approx(sum(expected) / 3, abs=1e-3)


def test_ours_are_trained_by_deepinv() -> None:
    network = DPDNN(2, 4, 1)
    before = [p.detach().clone() for p in network.parameters()]
    model = to_deepinv(network)
    trainer = deepinv.Trainer(
        model=model, physics=deepinv.physics.Denoising(deepinv.physics.GaussianNoise(0.1)), epochs=1, device="cpu",
        optimizer=torch.optim.Adam(model.parameters(), 1e-2), train_dataloader=loader(image()[0]), save_path=None,
        online_measurements=True, verbose=False, show_progress_bar=False, non_blocking_transfers=False,
    )  # fmt: skip
    trainer.train()
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_ours_for_mri_answers_with_complex_images() -> None:
    operator = DeepInv(MRI)
    y = operator.A(image())
    found = to_deepinv(Ridge(0.1))(y, operator.made)
    torch.testing.assert_close(found[:, :1], Ridge(0.1)(y, operator))
    assert float(found[:, 1:].abs().max()) == 0
