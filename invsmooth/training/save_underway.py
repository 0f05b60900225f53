"""Save a training now and then, so that little of it is lost when it is killed."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L


class SaveUnderway(L.Callback):
    """Lightning's own ``train_time_interval`` does nothing where the optimisation is manual.

    Args:
        path: of the checkpoint, written all or nothing.
        interval: what can be lost.
    """

    def __init__(self, path: Path, interval: timedelta) -> None:
        self.path, self.interval, self.saved = path, interval.total_seconds(), time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # All processes save together, or none does.
        if trainer.strategy.broadcast(time.monotonic() - self.saved >= self.interval):
            trainer.save_checkpoint(self.path, weights_only=False)
            self.saved = time.monotonic()
