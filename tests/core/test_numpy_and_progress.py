"""Arrays in and out of the functions that users call, and their progress."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from invsmooth import DPDNN, Identity, Ridge, apgd, certify, pgd, psnr, ssim

X = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
FEW = {"sigma": 0.1, "n_samples": 60, "eps": [0.05, 0.1]}


@pytest.mark.parametrize("certifier", ["discrepancy", "mean", "error"])
def test_certificates_of_arrays_are_arrays(certifier: str) -> None:
    estimator, known = Ridge(0.1), {"x": X} if certifier == "error" else {}
    of_tensors = certify(estimator, Identity(), X, certifier=certifier, **FEW, **known)  # type: ignore[arg-type]
    arrays = {k: v.numpy() for k, v in known.items()}
    of_arrays = certify(estimator, Identity(), X.numpy(), certifier=certifier, **FEW, **arrays)  # type: ignore[arg-type]
    assert isinstance(of_arrays.bound, np.ndarray)
    assert np.array_equal(of_arrays.bound, of_tensors.bound.numpy(), equal_nan=True)
    assert isinstance(of_arrays.reconstruction_median, np.ndarray)
    assert of_arrays.settings == of_tensors.settings
    assert repr(of_arrays) == repr(of_tensors)
    assert of_arrays.to_frame().equals(of_tensors.to_frame())
    of_arrays.plot()
    assert of_arrays.at(1).bound.shape == (2,)


@pytest.mark.parametrize("attack", [pgd, apgd])
def test_attacks_of_arrays(attack) -> None:
    torch.manual_seed(0)
    network, b = DPDNN(1, 4, 1, eta=0.8), 0.1 * torch.randn(X.shape)
    of_tensors = attack(network, Identity(), X, b, eps=0.5, n_iter=3)
    # In float64, as NumPy computes; the network is in float32.
    of_arrays = attack(network, Identity(), X.double().numpy(), b=b.double().numpy(), eps=0.5, n_iter=3)
    assert isinstance(of_arrays.xi, np.ndarray)
    assert np.array_equal(of_arrays.xi, of_tensors.xi.numpy())
    assert of_arrays.grad_evals == of_tensors.grad_evals == 3


def test_metrics_of_arrays() -> None:
    noisy = (X + 0.1 * torch.randn(X.shape)).clamp(0, 1)
    for metric in (psnr, ssim):
        found = metric(noisy.numpy(), X.numpy())
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, metric(noisy, X).numpy())


def test_radii_may_be_an_array_beside_tensors() -> None:
    found = certify(Ridge(0.1), Identity(), X, sigma=0.1, n_samples=60, eps=np.array([0.05, 0.1]))
    assert isinstance(found.bound, torch.Tensor)


@pytest.mark.parametrize("module", [True, False])
def test_progress_counts_reconstructions(module: bool) -> None:
    network = Ridge(0.1)
    estimator = network if module else lambda y, operator: network(y, operator)
    calls: list[tuple[int, int]] = []
    for work in (
        lambda: certify(estimator, Identity(), X, **FEW, chunk_size=7, progress=lambda *call: calls.append(call)),
        lambda: pgd(estimator, Identity(), X, eps=0.1, n_iter=5, progress=lambda *call: calls.append(call)),
    ):
        calls.clear()
        work()
        done, totals = zip(*calls, strict=True)
        assert list(done) == sorted(done)
        assert len(calls) > 5
        assert set(totals) == {done[-1]}
        assert done[0] < done[-1] / 4
        assert done[-2] > done[-1] / 2
    assert not network._forward_hooks


def test_a_callback_can_end_the_work() -> None:
    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise Enough

    network = Ridge(0.1)
    with pytest.raises(Enough):
        certify(network, Identity(), X, **FEW, chunk_size=5, progress=stop)
    assert not network._forward_hooks


def test_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    certify(Ridge(0.1), Identity(), X, **FEW, progress=True)
    assert "reconstructions" in capsys.readouterr().err
