from __future__ import annotations

import copy
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor

from invsmooth.algorithms import OrdTraining
from invsmooth.callbacks import StopAfterBatches
from invsmooth.data import ImageDataModule
from invsmooth.data.bundled import bundled_splits
from invsmooth.data.datamodule import decode_all
from invsmooth.estimators import ISTANetPP, Ridge, load_checkpoint
from invsmooth.measurement import Setting, measure
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity

RATIOS = (0.25, 0.5)


def module(estimator: torch.nn.Module | None = None, **changes: object) -> OrdTraining:
    torch.manual_seed(0)
    operators = [BlockGaussian(r, block=4) for r in RATIOS]
    arguments = {
        "estimator": estimator or ISTANetPP(2, 4), "train_operators": operators, "train_sigma_b": 5.0,
        "settings": [Setting(operators[0], RATIOS[0], 0.0)], "learning_rate": 1e-2, "schedule": "cosine", "halve_every": 3,
        "max_batches": 12, "seed": 3,
        "description": {"estimator": {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 2, "channels": 4}},
    }  # fmt: skip
    return OrdTraining(**arguments | changes)


def data(num_workers: int = 0) -> ImageDataModule:
    images = {str(k): (lambda k=k: torch.rand(1, 24, 20, generator=torch.Generator().manual_seed(k))) for k in range(3)}
    return ImageDataModule(
        name="random", splits={"train": images, "val": images, "test": images}, patch_size=8, batch_size=4, n_patches=20,
        augment=True, crop=None, limit=None, n_settings=1, num_workers=num_workers, seed=3,
    )  # fmt: skip


def trainer(folder: Path, max_batches: int) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", max_epochs=10, logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, callbacks=[StopAfterBatches(max_batches)],
    )  # fmt: skip


def fit(
    folder: Path, max_batches: int, resume: Path | None = None, num_workers: int = 0
) -> tuple[L.Trainer, OrdTraining]:
    trained, runner = module(), trainer(folder, max_batches)
    runner.fit(trained, datamodule=data(num_workers), ckpt_path=resume)
    return runner, trained


def weights(trained: OrdTraining) -> dict[str, Tensor]:
    return copy.deepcopy(trained.estimator.state_dict())


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_resume_equals_an_uninterrupted_run(tmp_path: Path, stop: int) -> None:
    """Bit by bit, within an epoch (of 5 batches) and at its end: weights, optimiser, schedule, data and noise go on."""
    _, whole = fit(tmp_path, 12)
    runner, first = fit(tmp_path, stop)
    assert first.batches_seen == stop
    runner.save_checkpoint(tmp_path / "half.ckpt")
    _, resumed = fit(tmp_path, 12, resume=tmp_path / "half.ckpt")
    assert resumed.batches_seen == 12
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert not torch.equal(weights(first)["phases.0.tail_conv.weight"], weights(whole)["phases.0.tail_conv.weight"])


def test_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    _, alone = fit(tmp_path, 6)
    _, helped = fit(tmp_path, 6, num_workers=2)
    assert all(torch.equal(v, weights(helped)[k]) for k, v in weights(alone).items())


def test_checkpoint_holds_plain_values_and_the_estimator(tmp_path: Path) -> None:
    runner, trained = fit(tmp_path, 2)
    runner.save_checkpoint(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content["batches_seen"] == 2
    # The operators' matrices are not in it: their seeds are.
    assert all(k.startswith("estimator.") for k in content["state_dict"])
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert not loaded.training
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in weights(trained).items())


class Spy(torch.nn.Module):
    """Notes what an estimator is given; has one weight, so that it can be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))
        self.seen: list[tuple[Tensor, object]] = []

    def forward(self, y: Tensor, operator: BlockGaussian) -> Tensor:
        self.seen.append((y.detach().clone(), operator))
        return self.gain * operator.A_adjoint(y)


def test_ordinary_training_compares_with_the_clean_image_at_the_drawn_ratio() -> None:
    spy = Spy()
    trained = module(spy)
    x = torch.rand(200, 1, 8, 8)
    ratios = set()
    for _ in range(12):
        trained.log = lambda *args, **kwargs: None
        loss = trained.training_step(x, 0)
        y, operator = spy.seen[-1]
        torch.testing.assert_close(loss, mse(operator.A_adjoint(y), x).mean())
        b = y - operator.A(x)
        assert float(b.std()) == pytest.approx(5 / 255, rel=0.02)
        ratios.add(operator.ratio)
    assert ratios == set(RATIOS)
    noises = [y - operator.A(x) for y, operator in spy.seen if operator.ratio == 0.5]
    assert not torch.equal(noises[0], noises[1])  # fresh b at each step


def test_a_loss_that_is_not_a_number_stops_training() -> None:
    broken = module(Ridge())
    broken.log = lambda *args, **kwargs: None
    with pytest.raises(FloatingPointError, match="nan at batch 0; lower"):
        broken.training_step(torch.full((2, 1, 8, 8), float("nan")), 0)


def test_measurement_noise_belongs_to_the_image() -> None:
    """The same b whatever the batch; common over sigma_b; its own for each image."""
    x = torch.rand(2, 1, 8, 8)
    weak, strong = (measure(Setting(Identity(), 1.0, s), ["a", "b"], x, seed=0) for s in (5.0, 10.0))
    torch.testing.assert_close(strong.b, 2 * weak.b)
    torch.testing.assert_close(measure(Setting(Identity(), 1.0, 5.0), ["b"], x[1:], seed=0).b, weak.b[1:])
    assert not torch.allclose(weak.b[0], weak.b[1])
    torch.testing.assert_close(weak.y, x + weak.b)


def test_learning_rate_schedules() -> None:
    halving = module(schedule="halve", halve_every=3).configure_optimizers()
    optimizer, scheduler = halving[0][0], halving[1][0]
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1e-2] * 3 + [5e-3] * 3 + [2.5e-3])
    assert isinstance(module(schedule="constant").configure_optimizers(), torch.optim.Adam)


@pytest.mark.slow
def test_training_on_photographs_lowers_the_loss(tmp_path: Path) -> None:
    images = {n: (lambda x=i.x[0]: x) for n, i in zip("abc", decode_all(bundled_splits()["train"]), strict=False)}
    photographs = ImageDataModule(
        name="bundled", splits={"train": images, "val": images, "test": images}, patch_size=33, batch_size=16,
        n_patches=3200, augment=True, crop=99, limit=None, n_settings=1, num_workers=0, seed=0,
    )  # fmt: skip
    operator = BlockGaussian(0.3)
    trained = module(
        train_operators=[operator], settings=[Setting(operator, 0.3, 0.0)], max_batches=100, train_sigma_b=0.0,
        learning_rate=3e-3,
    )  # fmt: skip
    runner = trainer(tmp_path, 100)
    runner.fit(trained, datamodule=photographs)
    x = photographs.images["val"][0].x[..., :99, :99]
    with torch.no_grad():
        before = mse(operator.A_adjoint(operator.A(x)), x)
        after = mse(trained.estimator(operator.A(x), operator), x)
    assert after < before / 3
