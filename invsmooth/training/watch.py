"""What a training says of itself: how long it will take, and how far it is, also within a batch."""

from __future__ import annotations

import logging
import time
from typing import Any

import lightning as L

from invsmooth.core.bars import InnerBar
from invsmooth.core.progress import LONG, Clock, Heartbeat, Speed, count, duration
from invsmooth.core.signals import SIGNALS
from invsmooth.training.backbone import ReconstructionModule

log = logging.getLogger(__name__)

ENOUGH = 1.0  # seconds that an estimate is measured over,
FEW = 4  # with as many calls; or
AT_MOST = 10.0  # seconds, with one


class TrainingWatch(L.Callback):
    """Counts forward passes by :meth:`ReconstructionModule.count_images`, which calls :meth:`inner`.

    A forward pass that takes minutes itself is only heard of when the next one begins.

    Args:
        batches: of the whole training, those before a resumption too; None: the trainer's epochs.
        batch_size: patches of a batch in this process.
        faster: what would be faster, for the estimate of a long training; "" for nothing.
        bar: moves within a batch, where there is a terminal. Elsewhere there is a line a minute."""

    def __init__(
        self, batches: int | None, batch_size: int, faster: str = "", bar: InnerBar | None = None,
        clock: Clock = time.monotonic,
    ) -> None:  # fmt: skip
        self.batches, self.batch_size, self.faster, self.bar, self.clock = batches, batch_size, faster, bar, clock
        # Skipped: the time before the first forward pass, and the first one, which warms up.
        self.speed = Speed(clock, skipped=2)
        self.in_batch, self.estimated, self.started = False, False, clock()
        self.before = self.counted = 0  # images forwarded before this batch, and up to the last call
        self.total = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ReconstructionModule)
        self.trainer, self.module = trainer, pl_module
        epochs = int(trainer.num_training_batches) * (trainer.max_epochs or 1)
        self.total = epochs if self.batches is None else min(self.batches, epochs)
        seen = self.bar is not None and self.bar.is_seen
        first = trainer.is_global_zero
        self.heart = Heartbeat(
            self.line if first and not seen else None, self.move if seen else None, self.clock, log.info
        )
        self.estimated = not first
        pl_module.watch = self.inner
        self.speed.start()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.before = self.counted = self.module.forward_images
        self.in_batch, self.started = True, self.clock()

    def inner(self) -> None:
        """Before each forward pass of the network."""
        if SIGNALS.pending is not None and not SIGNALS.held:
            SIGNALS.stop()
        if self.in_batch:
            self.count()
            if not self.estimated:
                self.estimate()
        self.heart.beat()

    def count(self) -> None:
        images = self.module.forward_images
        self.speed.done(images - self.counted)
        self.counted = images

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.count()
        self.in_batch = False
        if not self.estimated:
            self.estimate()
        self.heart.beat()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.speed.start()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.release()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.release()

    def release(self) -> None:
        if hasattr(self, "module"):
            self.module.watch = None

    @property
    def per_batch(self) -> int:
        """Images forwarded in a batch."""
        return self.module.evals_per_batch * self.batch_size

    @property
    def left(self) -> float:
        """Seconds; NaN while unknown."""
        batches = self.total - self.module.batches_seen
        begun = self.counted - self.before if self.in_batch else 0
        return max(0, batches * self.per_batch - begun) * self.speed.per_unit

    def estimate(self) -> None:
        """Say how long the training takes, once enough is measured."""
        speed = self.speed
        enough = speed.measured >= FEW and speed.seconds >= ENOUGH
        if not speed.work or not (enough or speed.seconds >= AT_MOST):
            return
        self.estimated = True
        batches = self.total - self.module.batches_seen
        each = duration(self.per_batch * speed.per_unit)
        text = f"estimate: this training takes {duration(self.left)} ({count(batches)} batches of {each})"
        text += ", its validation not counted; the evaluation follows"
        if self.left > LONG and self.faster:
            text += f". Faster: {self.faster}"
        log.info("%s", text)

    def line(self) -> str:
        seen, total = self.module.batches_seen, count(self.total)
        if not self.in_batch and not self.trainer.training:
            return f"validation after batch {count(seen)} of {total}"
        parts = [f"batch {count(seen + 1)} of {total}" if self.in_batch else f"batch {count(seen)} of {total} is done"]
        if self.in_batch and self.module.evals_per_batch > 1:
            parts.append(f"inner step {count(self.step)} of {count(self.module.evals_per_batch)}")
        if (loss := self.trainer.callback_metrics.get("train/loss")) is not None:
            parts.append(f"loss of the last batch {float(loss):.4g}")
        if self.speed.work:
            parts.append(f"about {duration(self.left)} left")
        return ", ".join(parts)

    @property
    def step(self) -> int:
        """Forward passes of each patch since the batch began."""
        return (self.counted - self.before) // self.batch_size

    def move(self) -> None:
        # A bar that flickers at every batch would tell nothing.
        if self.bar is not None and self.in_batch and self.clock() - self.started > 1:
            what = f"Batch {self.module.batches_seen + 1}, inner steps"
            self.bar.inner(what, min(self.step, self.module.evals_per_batch), self.module.evals_per_batch)
