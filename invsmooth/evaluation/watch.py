"""What an evaluation says of itself: what it does, at which image, and for how long still."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from invsmooth.core.bars import InnerBar
from invsmooth.core.progress import Clock, Heartbeat, Speed, count, duration
from invsmooth.core.signals import SIGNALS
from invsmooth.operators.measurement import Measured

log = logging.getLogger(__name__)

GRADIENT = 3
"""A forward pass with a gradient through it takes about as long as so many without."""
Expected = Callable[[Measured, int], float]


class EvaluationWatch:
    """Counts the forward passes of the estimator, by a hook that calls it.

    Args:
        bar: moves within an image, where there is a terminal. Elsewhere there is a line a minute.
        expected: forward passes (those with a gradient count :data:`GRADIENT`) that an image needs."""

    def __init__(
        self, bar: InnerBar | None = None, expected: Expected | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.bar, self.expected, self.clock = bar, expected, clock
        self.images, self.finished, self.size = 0, 0, 1
        self.evals = self.work = self.last = 0.0  # of this image; last: the work of the pass that is under way
        self.needed = math.nan
        self.what, self.where = "", ""
        self.began, self.taken = 0.0, list[float]()
        self.speed = Speed(clock)
        self.heart = Heartbeat(None, None, clock)
        self.hook: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> EvaluationWatch:
        """A copy of the estimator (in float64) has the same watch."""
        return self

    def start(self, estimator: nn.Module, images: int, speaks: bool = True) -> None:
        seen = self.bar is not None and self.bar.is_seen
        self.images, self.finished = images, 0
        self.heart = Heartbeat(
            self.line if speaks and not seen else None, self.move if seen else None, self.clock, log.info
        )
        self.stop()
        self.hook = estimator.register_forward_pre_hook(self)

    def stop(self) -> None:
        if self.hook is not None:
            self.hook.remove()
            self.hook = None

    def image(self, measured: Measured, number: int) -> None:
        """The evaluation of an image (or batch) begins: it is not in the cache."""
        self.where, self.size = f"{', '.join(measured.names)}, {measured.setting}", len(measured.names)
        self.began, self.needed = self.clock(), math.nan
        self.evals = self.work = self.last = 0.0
        if self.expected is not None:
            with contextlib.suppress(Exception):  # a part of the user's that cannot tell its cost works all the same
                self.needed = self.expected(measured, number)
        self.speed = Speed(self.clock)
        self.doing("reconstruct")

    def image_done(self, cached: bool) -> None:
        self.finished += 1
        if not cached:
            self.taken.append(self.clock() - self.began)
        self.where = self.what = ""

    def doing(self, what: str) -> None:
        self.what = what
        self.heart.beat()

    @torch.compiler.disable  # as the hook of the training
    def __call__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Before each forward pass of the network."""
        if SIGNALS.pending is not None:
            SIGNALS.stop()
        images = len(arguments[0]) / self.size
        self.speed.done(self.last)
        self.last = images * (GRADIENT if torch.is_grad_enabled() else 1)
        self.evals, self.work = self.evals + images, self.work + self.last
        self.heart.beat()

    @property
    def left(self) -> float:
        """Seconds for this image; NaN while unknown."""
        missing = self.needed - self.work
        return (0.0 if missing < 0 else missing) * self.speed.per_unit

    @property
    def left_for_all(self) -> float:
        others = self.images - self.finished - 1
        if others == 0:
            return self.left
        each = sum(self.taken) / len(self.taken) if self.taken else self.clock() - self.began + self.left
        return others * each + self.left

    def line(self) -> str:
        parts = [f"image {min(self.finished + 1, self.images)} of {self.images}"]
        if self.where:
            parts[0] += f" ({self.where})"
            parts.append(f"{self.what}, {count(self.evals)} network evaluations so far")
        if math.isfinite(self.left):
            parts.append(f"about {duration(self.left)} left for this image")
        if math.isfinite(self.left_for_all) and self.finished + 1 < self.images:
            parts.append(f"{duration(self.left_for_all)} for all")
        return parts[0] + ": " * (len(parts) > 1) + "; ".join(parts[1:])

    def move(self) -> None:
        if self.bar is not None and self.where and self.clock() - self.began > 1:
            self.bar.inner(f"Image {self.finished + 1}: {self.what}, evaluations", int(self.evals), math.inf)


QUIET = EvaluationWatch()
"""Says nothing."""
