"""A Lightning callback: signals are obeyed within a batch, not only after it."""

from __future__ import annotations

import lightning as L

from invsmooth.core.signals import SIGNALS


class ObeySignals(L.Callback):
    """While it trains or tests, Lightning replaces the handler of SIGTERM by one that notes the
    signal and looks at the note between two batches, which may be hours apart. (With several
    processes its handler also waits for the others, from wherever it is.) This puts ours back."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        SIGNALS.install()  # a worker process has none yet

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        SIGNALS.install()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        SIGNALS.install()
