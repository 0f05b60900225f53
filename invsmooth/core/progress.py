"""What a long computation says of itself: an estimate at its start, and a line a minute."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

Clock = Callable[[], float]
EVERY = 60.0  # seconds between two lines
MOVES = 0.1  # seconds between two movements of a progress bar
LONG = 3600.0  # seconds above which an estimate also says what would be faster


def duration(seconds: float) -> str:
    """In two figures or so, in the largest unit that fits: ``40 s``, ``12 min``, ``3.5 h``, ``23 days``."""
    if not math.isfinite(seconds):
        return "unknown"
    for unit, size, at_least in (
        ("years", 31557600, 63115200),
        ("days", 86400, 172800),
        ("h", 3600, 5400),
        ("min", 60, 90),
    ):
        if seconds >= at_least:
            return f"{seconds / size:.{0 if seconds / size >= 9.95 else 1}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"


def count(number: float) -> str:
    """With spaces between the thousands."""
    return f"{number:,.0f}".replace(",", " ")


@dataclass
class Speed:
    """How long a unit of work takes, from the times at which work was done. The first calls, which
    warm up (memory, caches, compilation), do not count.

    Attributes:
        skipped: calls left out at the start.
        seconds, work: measured since."""

    clock: Clock = time.monotonic
    skipped: int = 1
    seconds: float = 0.0
    work: float = 0.0
    calls: int = field(default=0, init=False)
    last: float | None = field(default=None, init=False)

    def start(self) -> None:
        """Work begins, after a pause that does not count."""
        self.last = self.clock()

    def done(self, work: float) -> None:
        """So much was done since the last call."""
        now, last = self.clock(), self.last
        self.last, self.calls = now, self.calls + 1
        if last is not None and self.calls > self.skipped:
            self.seconds, self.work = self.seconds + now - last, self.work + work

    @property
    def measured(self) -> int:
        return max(0, self.calls - self.skipped)

    @property
    def per_unit(self) -> float:
        """NaN until something was measured."""
        return self.seconds / self.work if self.work else math.nan


class Heartbeat:
    """Says something about once a minute, and moves a bar some ten times a second, for as long as
    :meth:`beat` is called. That has to be cheap: it is called at every forward pass.

    Args:
        say: the line of now; None: no lines (a bar on a terminal shows it all).
        move: moves the bar."""

    def __init__(
        self, say: Callable[[], str] | None, move: Callable[[], None] | None = None, clock: Clock = time.monotonic,
        tell: Callable[[str], None] = log.info,
    ) -> None:  # fmt: skip
        self.say, self.move, self.clock, self.tell = say, move, clock, tell
        now = clock()
        self.line_due = now + EVERY if say else math.inf
        self.move_due = now + MOVES if move else math.inf
        self.due = min(self.line_due, self.move_due)

    def beat(self) -> None:
        if (now := self.clock()) < self.due:
            return
        if now >= self.line_due and self.say is not None:
            self.line_due = now + EVERY
            self.tell(self.say())
        if now >= self.move_due and self.move is not None:
            self.move_due = now + MOVES
            self.move()
        self.due = min(self.line_due, self.move_due)
