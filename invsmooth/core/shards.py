"""Which of the test images a process evaluates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shard:
    """Images rank, rank + world, rank + 2 world, … of every setting. (Lightning's sampler would repeat images to make all
    shares equally long.)

    Attributes:
        rank: number of this process.
        world: how many processes there are.
        devices: what Lightning takes as this process's device, if there are several processes.
        meeting: the process group in which they meet at the end.
    """

    rank: int = 0
    world: int = 1
    devices: Any = None
    meeting: Any = None

    def numbers(self, n: int) -> range:
        """Those of this process among n images."""
        return range(self.rank, n, self.world)

    def number(self, k: int) -> int:
        """The number among all images of the ``k``-th of this process."""
        return self.rank + k * self.world

    def file(self, name: str) -> str:
        """The name of a file of which each process writes its part."""
        stem, dot, suffix = name.rpartition(".")
        return name if self.world == 1 else f"{stem}.rank{self.rank}{dot}{suffix}"


ALL = Shard()
"""Of a process that evaluates alone."""
