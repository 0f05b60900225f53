"""The test images that one of several processes evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shard:
    """Images rank, rank + world, rank + 2 world, … of every setting.

    Attributes:
        rank: number of this process.
        world: number of processes.
        devices: this process's device, as Lightning takes it; None for a single process.
        meeting: the process group for the exchange at the end.
    """

    rank: int = 0
    world: int = 1
    devices: Any = None
    meeting: Any = None

    def numbers(self, n: int) -> range:
        """The images of this process among n."""
        return range(self.rank, n, self.world)

    def number(self, k: int) -> int:
        """The number among all images of the ``k``-th of this process."""
        return self.rank + k * self.world

    def file(self, name: str) -> str:
        """The name of this process's part of a file."""
        stem, dot, suffix = name.rpartition(".")
        return name if self.world == 1 else f"{stem}.rank{self.rank}{dot}{suffix}"


ALL = Shard()
"""Of a single process."""
