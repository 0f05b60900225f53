"""The test images that one of several processes evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shard:
    """Images rank, rank + world, rank + 2 world, … of every setting."""

    rank: int = 0  # of this process
    world: int = 1  # number of processes
    devices: Any = None  # this process's device, as Lightning takes it; None for a single process
    meeting: Any = None  # the process group for the exchange at the end

    def numbers(self, n: int) -> range:
        """The images of this process among n."""
        return range(self.rank, n, self.world)

    def number(self, k: int) -> int:
        """The number among all images of the ``k``-th of this process."""
        return self.rank + k * self.world

    def file(self, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        return name if self.world == 1 else f"{stem}.rank{self.rank}{dot}{suffix}"


ALL = Shard()  # of a single process
