"""Two batches of every algorithm on a GPU, with the losses of a CPU."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from invsmooth.data.datamodule import NamedImages
from invsmooth.estimators import load_checkpoint
from invsmooth.training.stop_after import StopAfterBatches
from tests.training.toys import SETTINGS, Gain, data, module

ALGORITHMS = [name for name in SETTINGS if name != "Certified"]
# On a CPU tests/training has the others.
CASES = [("cpu", "Ord"), *(pytest.param("cuda", name, marks=pytest.mark.gpu) for name in ALGORITHMS)]
ACCELERATOR = {"cpu": "cpu", "cuda": "gpu"}


def runner(folder: Path, device: str, n_batches: int, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator=ACCELERATOR[device], devices=1, max_epochs=10, logger=False, default_root_dir=folder,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[StopAfterBatches(n_batches)], log_every_n_steps=1, **options,
    )  # fmt: skip


def fit(
    folder: Path, name: str, device: str, n_batches: int = 2, resume: Path | None = None, estimator: Any = None,
    **options: Any,
) -> tuple[L.Trainer, Any]:  # fmt: skip
    trained, trainer = module(name, estimator, **SETTINGS[name]), runner(folder, device, n_batches, **options)
    trainer.fit(trained, datamodule=data(), ckpt_path=resume)
    return trainer, trained


@functools.cache
def loss(name: str, device: str) -> float:
    """Of the second batch: it depends on the first step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, trained = fit(Path(folder), name, device)
        assert trained.batches_seen == 2
        return float(trainer.callback_metrics["train/loss"])


@pytest.mark.parametrize(("device", "name"), CASES)
def test_the_losses_are_those_of_the_cpu(device: str, name: str) -> None:
    assert loss(name, device) == pytest.approx(loss(name, "cpu"), rel=0.01)


def test_certified_training(device: str, tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, "Certified", device, estimator=Gain())
    assert bool(torch.isfinite(trainer.callback_metrics["train/loss"]))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["Adv", "SmtGrad"])
def test_a_training_goes_on(name: str, tmp_path: Path) -> None:
    """From a checkpoint, with what the algorithm carries from batch to batch. The checkpoint loads anywhere."""
    trainer, _ = fit(tmp_path, name, "cuda", 2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    first = load_checkpoint(tmp_path / "two.ckpt")
    assert {p.device.type for p in first.parameters()} == {"cpu"}
    resumed, trained = fit(tmp_path, name, "cuda", 4, tmp_path / "two.ckpt")
    assert trained.batches_seen == 4
    whole, _ = fit(tmp_path, name, "cuda", 4)
    own, expected = (float(t.callback_metrics["train/loss"]) for t in (resumed, whole))
    # The gradients of some convolutions are sums in an order that a GPU does not fix.
    assert own == pytest.approx(expected, rel=0.01)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["Ord", "Jcb"])
def test_bfloat16(name: str, tmp_path: Path) -> None:
    trainer, _ = fit(tmp_path, name, "cuda", precision="bf16-mixed")
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(loss(name, "cpu"), rel=0.2)


@pytest.mark.gpu
def test_batches_are_pinned_and_arrive(tmp_path: Path) -> None:
    pinned: list[bool] = []

    class Looks(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            assert batch.is_cuda
            pinned.append(trainer.datamodule.for_gpu)

        def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, *_: Any) -> None:
            assert isinstance(batch, NamedImages)
            assert batch.x.is_cuda

    trained, trainer = module("Ord"), runner(tmp_path, "cuda", 5)
    trainer.callbacks.append(Looks())  # type: ignore[attr-defined]
    trainer.fit(trained, datamodule=data())
    assert pinned == [True] * 5
    images = data()
    images.setup("test")
    images.trainer = trainer
    (loader,) = images.test_dataloader()
    assert all(batch.x.is_pinned() for batch in loader)


def test_nothing_is_pinned_for_a_cpu(tmp_path: Path) -> None:
    images = data()
    images.setup("fit")
    assert not images.for_gpu
    assert not images.val_dataloader().pin_memory
    images.trainer = runner(tmp_path, "cpu", 1)
    assert not images.train_dataloader().pin_memory
