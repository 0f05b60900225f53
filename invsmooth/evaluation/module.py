"""The LightningModule that Lightning's test loop runs to evaluate an estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
from torch import Tensor, nn

from invsmooth.data.datamodule import NamedImages
from invsmooth.operators.measurement import Measured, Setting, measure


class EvaluationModule(L.LightningModule):
    """Measures the test images of :class:`invsmooth.data.ImageDataModule`.
    :class:`EvaluationCallback` does the rest.

    Args:
        estimator: any torch module with ``forward(y, operator)``, a LightningModule among them.
        settings: measurement settings, one for each test loader.
    """

    def __init__(self, estimator: nn.Module, settings: Sequence[Setting]) -> None:
        super().__init__()
        self.estimator, self.settings = estimator, list(settings)
        # Registered, so that the operators move to the device with the module.
        self.operators = nn.ModuleList(s.operator for s in settings)

    def forward(self, y: Tensor, operator: Any) -> Tensor:
        x_hat: Tensor = self.estimator(y, operator)
        return x_hat

    def test_step(self, batch: NamedImages, batch_idx: int, dataloader_idx: int = 0) -> Measured:
        return measure(self.settings[dataloader_idx], batch.names, batch.x)
