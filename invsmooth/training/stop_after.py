"""Stop training after a number of batches."""

from __future__ import annotations

from typing import Any

import lightning as L

from invsmooth.training.backbone import ReconstructionModule


class StopAfterBatches(L.Callback):
    """``trainer.max_steps`` counts batches. Lightning's own counts optimiser steps, of which an
    algorithm may take several for each batch."""

    def __init__(self, max_batches: int) -> None:
        self.max_batches = max_batches

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # A run that is resumed may have had all its batches.
        assert isinstance(pl_module, ReconstructionModule)
        trainer.should_stop = trainer.should_stop or pl_module.batches_seen >= self.max_batches

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.on_train_start(trainer, pl_module)
