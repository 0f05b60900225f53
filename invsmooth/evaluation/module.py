"""The LightningModule that Lightning's test loop runs to evaluate an estimator."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
from torch import nn

from invsmooth.data.datamodule import NamedImages
from invsmooth.operators.measurement import Setting


class EvaluationModule(L.LightningModule):
    """Holds any torch module with ``forward(y, operator)`` for an :class:`EvaluationCallback`."""

    def __init__(self, estimator: nn.Module, settings: Sequence[Setting]) -> None:
        super().__init__()
        self.estimator = estimator
        # Registered, so that the operators move to the device with the module.
        self.operators = nn.ModuleList(s.operator for s in settings)

    def test_step(self, batch: NamedImages, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Nothing: all is done after the step."""
