from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from invsmooth.core.errors import ConfigError, DivergedError
from invsmooth.core.rng import standard_normal
from invsmooth.estimators import load_checkpoint
from invsmooth.estimators.frozen import state_sha256
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.measurement import Setting, measure
from invsmooth.training import ReconstructionModule
from tests.training.toys import RATIOS, SETTINGS, Gain, alone, data, module, trainer


def fit(folder: Path, max_batches: int, name: str = "Ord", resume: Path | None = None, num_workers: int = 0):
    trained, runner = module(name, **SETTINGS[name]), trainer(folder, max_batches)
    runner.fit(trained, datamodule=data(num_workers), ckpt_path=resume)
    return runner, trained


def weights(trained: ReconstructionModule) -> dict[str, Tensor]:
    return copy.deepcopy(trained.estimator.state_dict())


def test_resuming_a_finished_run_trains_no_further(tmp_path: Path) -> None:
    runner, first = fit(tmp_path, 4)
    runner.save_checkpoint(tmp_path / "end.ckpt")
    _, resumed = fit(tmp_path, 4, resume=tmp_path / "end.ckpt")
    assert resumed.batches_seen == 4
    assert all(torch.equal(v, weights(resumed)[k]) for k, v in weights(first).items())


def test_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    _, alone_ = fit(tmp_path, 6)
    _, helped = fit(tmp_path, 6, num_workers=2)
    assert all(torch.equal(v, weights(helped)[k]) for k, v in weights(alone_).items())


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


@pytest.mark.parametrize("name", SETTINGS)
def test_what_every_algorithm_keeps_to(tmp_path: Path, name: str) -> None:
    """The ratio told is that of the matrix drawn; b is fresh for each batch; the mode and the weights' flags are restored;
    attacks see frozen weights in eval mode; the optimiser steps as often as the algorithm says."""
    spy = Gain()
    trained, runner = module(name, spy, **SETTINGS[name]), trainer(tmp_path, 5)
    runner.fit(trained, datamodule=data())
    assert trained.training
    assert spy.training
    assert spy.gain.requires_grad
    assert {operator.ratio for _, operator, _, _ in spy.seen} == set(RATIOS)
    for y, operator, _, _ in spy.seen:
        assert y.shape[1] == operator.phi.shape[0]
    attacked = [seen for seen in spy.seen if not seen[2] and not seen[3]]
    assert bool(attacked) == (name in ("Adv", "SmtAdv"))
    assert runner.global_step == 5 * trained.updates_per_batch
    assert trained.updates_per_batch == (2 if name == "SmtGrad" else 1)


def test_ordinary_training_compares_with_the_clean_image() -> None:
    spy = Gain(0.7)
    trained = alone("Ord", spy)
    x, operator = torch.rand(200, 1, 8, 8), trained.train_operators[1]
    b = 0.02 * torch.randn(operator.A(x).shape)
    loss = trained.accumulate_gradients(x, b, operator, 0)
    torch.testing.assert_close(loss, mse(0.7 * operator.A_adjoint(operator.A(x) + b), x).mean())


def test_noise_is_that_of_the_config_and_fresh_for_each_batch(tmp_path: Path) -> None:
    spy = Gain()
    trained = module(
        "Ord", spy, setup={"train_operators": [Identity()], "val_settings": [Setting(Identity(), 1.0, 0.0)]}
    )
    datamodule = data()
    runner = trainer(tmp_path, 5)
    runner.fit(trained, datamodule=datamodule)
    batches = datamodule.train_dataloader().dataset
    noises = [y - batches[k] for k, y in enumerate(y for y, _, training, _ in spy.seen if training)]
    assert len(noises) == 5
    assert float(torch.cat(noises).std()) == pytest.approx(5 / 255, rel=0.05)
    assert not torch.equal(noises[0], noises[1])


def test_ordinary_training_with_as_many_steps_as_smoothed_gradient_training(tmp_path: Path) -> None:
    trained, runner = module("Ord", compute_match="smt_grad", t_step=4), trainer(tmp_path, 3)
    runner.fit(trained, datamodule=data())
    assert (trained.batches_seen, runner.global_step) == (3, 12)


@pytest.mark.parametrize("name", ["Ord", "Adv", "SmtGrad"])
def test_a_loss_that_is_not_a_number_stops_training_and_keeps_the_batch(tmp_path: Path, name: str) -> None:
    trained, runner = module(name, Gain(float("inf")), **SETTINGS[name]), trainer(tmp_path, 3)
    with pytest.raises(DivergedError, match=r"at batch 0, saved .*bad_batch_0\.pt; lower"):
        runner.fit(trained, datamodule=data())
    kept = torch.load(tmp_path / "bad_batch_0.pt", weights_only=True)
    assert kept["x"].shape == (4, 1, 8, 8)
    assert kept["ratio"] in RATIOS


class NotDifferentiable(Gain):
    def forward(self, y: Tensor, operator: object) -> Tensor:
        return super().forward(y.detach(), operator)


@pytest.mark.parametrize("name", ["Adv", "Jcb", "SmtAdv"])
def test_an_estimator_without_input_gradient_is_refused_before_the_first_step(tmp_path: Path, name: str) -> None:
    trained = module(name, NotDifferentiable(), **SETTINGS[name])
    with pytest.raises(ConfigError, match="NotDifferentiable is not differentiable in its input"):
        trainer(tmp_path, 3).fit(trained, datamodule=data())
    assert trained.batches_seen == 0


def test_measurement_noise_belongs_to_the_image() -> None:
    """The same b whatever the batch; common over sigma_b; its own for each image and noise seed."""
    x = torch.rand(2, 1, 8, 8)
    weak, strong = (measure(Setting(Identity(), 1.0, s), ["a", "b"], x) for s in (5 / 255, 10 / 255))
    torch.testing.assert_close(strong.b, 2 * weak.b)
    torch.testing.assert_close(measure(Setting(Identity(), 1.0, 5 / 255), ["b"], x[1:]).b, weak.b[1:])
    assert not torch.allclose(weak.b[0], weak.b[1])
    assert not torch.allclose(measure(Setting(Identity(), 1.0, 5 / 255, noise_seed=1), ["a", "b"], x).b, weak.b)
    torch.testing.assert_close(weak.y, x + weak.b)


def test_the_measurement_of_a_test_image_depends_on_nothing_of_the_training() -> None:
    """It is drawn from the noise seed and the image's name, wherever it is measured."""
    measured = measure(Setting(Identity(), 1.0, 5 / 255), ["a"], torch.full((1, 1, 16, 16), 0.5))
    expected = 0.5 + 5 / 255 * standard_normal((1, 16, 16), 0, "b", "a")
    torch.testing.assert_close(measured.y[0], expected)


@pytest.mark.parametrize("name", ["Ord", "SmtGrad"])
def test_schedules_go_by_batches_and_epochs_whatever_the_optimiser_steps(tmp_path: Path, name: str) -> None:
    rates: dict[str, float] = {}
    for schedule in ("constant", "halve", "cosine"):
        trained = module(name, setup={"schedule": schedule, "halve_every": 1, "max_batches": 10}, **SETTINGS[name])
        trainer(tmp_path, 10).fit(trained, datamodule=data())  # two epochs of five batches
        rates[schedule] = trained.optimizers().param_groups[0]["lr"]
    assert rates == pytest.approx({"constant": 1e-2, "halve": 2.5e-3, "cosine": 0.0})


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """Adam's step does not show the length of a gradient, so the gradient itself is looked at."""
    trained, norms = module("Ord", setup={"clip": 1e-3}), []

    def look(optimizer: object) -> None:
        norms.append(float(torch.cat([p.grad.flatten() for p in trained.estimator.parameters()]).norm()))

    trained.on_before_optimizer_step = look
    trainer(tmp_path, 2).fit(trained, datamodule=data())
    assert norms == pytest.approx([1e-3] * 2, rel=1e-3)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16-mixed", 0.02), ("64-true", 1e-4)])
@pytest.mark.parametrize("name", SETTINGS)
def test_precision_does_not_change_what_is_learned(tmp_path: Path, name: str, precision: str, tolerance: float) -> None:
    results = []
    for used in ("32-true", precision):
        trained = module(name, Gain(0.5), **SETTINGS[name])
        if used == "64-true":
            trained = trained.double()
        trainer(tmp_path, 5, precision=used).fit(trained, datamodule=data())
        results.append(float(trained.estimator.gain.detach()))
    # Adam moves the one weight by about 1e-2 a step, five to ten times.
    assert results[1] == pytest.approx(results[0], abs=tolerance)
    assert results[0] != 0.5


def test_weights_are_told_apart_by_their_hash() -> None:
    first, again, other = Gain(0.5), Gain(0.5), Gain(0.25)
    assert state_sha256(first) == state_sha256(again) != state_sha256(other)
    assert state_sha256(first) != state_sha256(Gain(0.5).bfloat16())


def test_ratios_of_training_are_block_gaussian() -> None:
    assert all(isinstance(o, BlockGaussian) for o in module().train_operators)


def test_a_copy_of_the_trained_estimator_copies_nothing_else(tmp_path: Path) -> None:
    """Certificates take a copy in float64. A hook of the training would bring the trainer and its images with it."""
    trained = module()
    trainer(tmp_path, 2).fit(trained, datamodule=data())
    assert trained.forward_images > 0
    assert not [hook for part in trained.estimator.modules() for hook in part._forward_pre_hooks]
