"""A Lightning callback: signals are obeyed within a batch, not only after it."""

from __future__ import annotations

import multiprocessing

import lightning as L

from invsmooth.core.signals import SIGNALS


class ObeySignals(L.Callback):
    """While it trains or tests, Lightning replaces the handler of SIGTERM by one that notes the
    signal and looks at the note between two batches, which may be hours apart. (With several
    processes its handler also waits for the others, from wherever it is.) This puts ours back
    (:meth:`invsmooth.core.signals.Obedience.obeyed`)."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if multiprocessing.parent_process() is not None:  # one of several that Lightning spawned
            SIGNALS.install()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if SIGNALS.before:
            SIGNALS.install()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if SIGNALS.before:
            SIGNALS.install()
