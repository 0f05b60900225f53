"""Shared by the benchmarks: alternate what is compared, take medians. Run one: ``python -m tests.benchmarks.table``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Runs = Mapping[str, Callable[[], object]]


def seconds(run: Callable[[], object]) -> float:
    synchronise()
    started = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - started


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(runs: Runs, rounds: int, warm_up: bool = True) -> dict[str, list[float]]:
    """Seconds of each run in each round. The runs of a round follow each other, so that a machine that
    slows down slows all of them."""
    if warm_up:
        for run in runs.values():
            run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return times


def medians(runs: Runs, rounds: int, warm_up: bool = True) -> dict[str, float]:
    return {name: statistics.median(found) for name, found in alternate(runs, rounds, warm_up).items()}


def main() -> None:
    print("nothing to run here: see the docstring")


if __name__ == "__main__":
    main()
