"""What an estimator has in closed form is fitted before the first batch, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from invsmooth.core.errors import ConfigError
from invsmooth.operators import LinearOperator
from invsmooth.training import FitTraining, backbone
from tests.training.toys import RATIOS, Gain, data, module, trainer


class Fitted(Gain):
    """Its gain is the mean of the training pixels, for want of a better use."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.fits: list[tuple[Tensor, list[float], float]] = []

    @property
    def fitted(self) -> bool:
        return bool(self.gain != 0)

    @torch.no_grad()
    def fit(self, images: Tensor, operators: Sequence[LinearOperator], sigma_b: float) -> None:
        self.fits.append((images, [op.ratio for op in operators], sigma_b))
        self.gain.copy_(images.mean())


@pytest.fixture(autouse=True)
def _few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone, "FITTED", 10 * 8 * 8)


def test_a_fit_changes_nothing_after_it(tmp_path: Path) -> None:
    trained = module("Fit", Fitted())
    trainer(tmp_path, 3).fit(trained, datamodule=data())
    ((images, ratios, sigma_b),) = trained.estimator.fits
    assert images.shape == (12, 1, 8, 8)  # 10 patches, in whole batches of 4
    assert torch.equal(images, torch.cat([batch for batch, _ in zip(first_batches(), range(3), strict=False)]))
    assert (ratios, sigma_b) == (list(RATIOS), 5 / 255)
    assert float(trained.estimator.gain.detach()) == float(images.mean())
    assert trained.batches_seen == 3


def first_batches() -> list[Tensor]:
    images = data()
    images.setup("fit")
    return [images.patch_batches()[k] for k in range(3)]


def test_training_goes_on_from_the_fit_and_a_resumed_one_does_not_fit_again(tmp_path: Path) -> None:
    trained, runner = module("Ord", Fitted()), trainer(tmp_path, 2)
    runner.fit(trained, datamodule=data())
    (fit,) = trained.estimator.fits
    assert float(trained.estimator.gain.detach()) != float(fit[0].mean())
    runner.save_checkpoint(tmp_path / "half.ckpt")
    whole = module("Ord", Fitted())
    trainer(tmp_path, 4).fit(whole, datamodule=data())
    resumed = module("Ord", Fitted())
    trainer(tmp_path, 4).fit(resumed, datamodule=data(), ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(resumed.estimator.gain, whole.estimator.gain)


def test_given_weights_are_kept(tmp_path: Path) -> None:
    estimator = Fitted()
    estimator.gain.data.fill_(0.3)
    trainer(tmp_path, 1).fit(module("Fit", estimator), datamodule=data())
    assert estimator.fits == []
    assert float(estimator.gain.detach()) == pytest.approx(0.3)


def test_an_estimator_without_a_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="algo=fit: Gain has no closed-form fit; use algo=ord"):
        FitTraining(module("Ord", Gain()).setup_)
