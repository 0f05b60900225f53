"""Small trainings for the tests."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from invsmooth import training as algorithms
from invsmooth.data import ImageArrays, in_memory
from invsmooth.data.datamodule import ImageDataModule, PatchSettings
from invsmooth.estimators import ISTANetPP
from invsmooth.operators import BlockGaussian, LinearOperator
from invsmooth.operators.measurement import Setting
from invsmooth.training import ReconstructionModule, TrainingSetup
from invsmooth.training.stop_after import StopAfterBatches

RATIOS = (0.25, 0.5)
SETTINGS: dict[str, dict[str, Any]] = {
    "Ord": {},
    "Certified": {"eps": 0.2},
    "Adv": {"eps": 0.2, "n_iter": 3, "init": "sphere", "warm_start": True, "eps_warmup": 4},
    "Jcb": {},
    "SmtAdv": {
        "eps": 0.2,
        "n_iter": 2,
        "sigma": 10 / 255,
        "n_samples": 3,
        "chunk_size": 2,
        "init": "residual",
        "history": 2,
        "antithetic": True,
    },
    "SmtGrad": {"sigma": 10 / 255, "n_samples": 3, "t_step": 2, "chunk_size": 2},
}
"""A setting of each algorithm that uses all that is drawn and kept from batch to batch."""


def module(
    algorithm: str | type[ReconstructionModule] = "Ord",
    estimator: torch.nn.Module | None = None,
    setup: dict | None = None,
    **own: Any,
) -> Any:
    """An algorithm over a small network, by its class, or the name of one of ours without "Training"."""
    torch.manual_seed(0)
    operators = [BlockGaussian(r, block=4) for r in RATIOS]
    arguments: dict[str, Any] = {
        "estimator": estimator or ISTANetPP(2, 4), "train_operators": operators, "train_sigma_b": 5 / 255,
        "val_settings": [Setting(operators[0], RATIOS[0], 0.0)], "learning_rate": 1e-2, "schedule": "cosine",
        "max_batches": 12, "seed": 3,
        "description": {"estimator": {"_target_": "invsmooth.estimators.ISTANetPP", "n_phases": 2, "channels": 4}},
    }  # fmt: skip
    kind = getattr(algorithms, f"{algorithm}Training") if isinstance(algorithm, str) else algorithm
    return kind(TrainingSetup(**arguments | (setup or {})), **own)


def alone(name: str, estimator: torch.nn.Module | None = None, setup: dict | None = None, **own: Any) -> Any:
    """An algorithm to call without a trainer."""
    made = module(name, estimator, setup, **own)
    made.manual_backward = lambda loss: loss.backward()
    made.log = lambda *args, **kwargs: None
    return made


def random_images(first: int) -> ImageArrays:
    """Three images of 24 × 20 pixels."""
    numbers = range(first, first + 3)
    return in_memory({str(k): np.random.default_rng(k).random((24, 20), dtype=np.float32) for k in numbers})


def data(num_workers: int = 0) -> ImageDataModule:
    load = {split: partial(random_images, 3 * k) for k, split in enumerate(("train", "val", "test"))}
    return ImageDataModule(
        name="random", load=load, patches=PatchSettings(8, 4, 20, augment=True, seed=3), crop=None, val_crop=None,
        n_settings=1, num_workers=num_workers,
    )  # fmt: skip


def trainer(folder: Path, max_batches: int, **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu", max_epochs=10, logger=False, default_root_dir=folder, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, callbacks=[StopAfterBatches(max_batches)], **options,
    )  # fmt: skip


class Gain(torch.nn.Module):
    """x_hat = gain · A^T y: one weight, so that everything can be computed by hand. Notes what it is given."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.seen: list[tuple[Tensor, LinearOperator, bool, bool]] = []

    def forward(self, y: Tensor, operator: LinearOperator) -> Tensor:
        self.seen.append((y.detach().clone(), operator, self.training, self.gain.requires_grad))
        return self.gain * operator.A_adjoint(y)

    def lipschitz_tensor(self, operator: LinearOperator) -> Tensor:
        return self.gain.abs() * operator.norm()

    def lipschitz(self, operator: LinearOperator) -> float:
        return float(self.lipschitz_tensor(operator).detach())
