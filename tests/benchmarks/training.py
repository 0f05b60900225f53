"""``make bench-training``: seconds and network evaluations per training batch, five algorithms, relative to ord.

Small networks on patches of the bundled photographs: with the small presets, and with the paper's (T_itr = 100 or
150, S = 15), which takes minutes. ``python -m tests.benchmarks.training --size small --turns 3 --clock processor``:
one size alone; the algorithms take turns, and each ratio is the median of those to the first algorithm in the same
turn; time of the processor, which other programs disturb less. ``--algorithms ord,jcb``: these alone.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from typing import Any

import lightning as L
from hydra import compose, initialize_config_module

from invsmooth.config import schema
from invsmooth.config.cli import quieten_lightning
from invsmooth.core.memory import keep_memory
from invsmooth.pipeline.build import build_data, build_estimator, build_module
from invsmooth.training.stop_after import StopAfterBatches

ALGORITHMS = ("ord", "jcb", "adv", "smt_adv", "smt_grad")
PAPER = {"denoise": (1, 1.7, 7.2, 95.5, 92.8), "cs": (1, 1.9, 3.4, 31, 68)}


class Clock(L.Callback):
    """Seconds and network evaluations (per image) of each batch."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.seconds: list[float] = []
        self.evaluations: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.started, self.images = self.now(), pl_module.forward_images

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.seconds.append(self.now() - self.started)
        self.evaluations.append((pl_module.forward_images - self.images) / len(batch))


def measure(task: str, algo: str, n_batches: int, now: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
    """Median seconds, without the first batch where there are several, and evaluations for each batch."""
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        ratio = ["operator.train_ratio=[0.1]"] if task == "cs" else []
        cfg = compose("train", [f"task={task}_small", f"algo={algo}", f"trainer.max_steps={n_batches}", *ratio])
    module = build_module(cfg, build_estimator(cfg, trains=True))
    clock = Clock(now)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
        enable_model_summary=False, max_epochs=1, callbacks=[clock, StopAfterBatches(n_batches)],
    )  # fmt: skip
    trainer.fit(module, datamodule=build_data(cfg, 1, trains=True))
    return statistics.median(clock.seconds[1:] or clock.seconds), clock.evaluations[-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=["small", "paper"])
    parser.add_argument("--algorithms", default=",".join(ALGORITHMS))
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    given = parser.parse_args()
    algorithms, now = (
        given.algorithms.split(","),
        time.process_time if given.clock == "processor" else time.perf_counter,
    )
    keep_memory()
    quieten_lightning()
    logging.getLogger("lightning").setLevel(logging.ERROR)
    schema.register()
    print("| task, attack and smoothing | " + " | ".join(algorithms) + " |")
    print("| --- |" + " --- |" * len(algorithms))
    counts = {"small": dict(zip(ALGORITHMS, (12, 8, 6, 4, 4), strict=True)),
              "paper": dict(zip(ALGORITHMS, (12, 8, 3, 1, 3), strict=True))}  # fmt: skip
    for size in [given.size] if given.size else counts:
        for task in ("denoise", "cs"):
            presets = {a: a + ("_small" if size == "small" and ("adv" in a or "grad" in a) else "") for a in algorithms}
            turns = [
                {a: measure(task, presets[a], counts[size][a], now) for a in algorithms} for _ in range(given.turns)
            ]
            cells = []
            for a in algorithms:
                ratio = statistics.median(turn[a][0] / turn[algorithms[0]][0] for turn in turns)
                seconds = statistics.median(turn[a][0] for turn in turns)
                cells.append(f"{ratio:.3g} × ({seconds:.3g} s, {turns[0][a][1]:g} evaluations)")
            print(f"| {task}, {size} | " + " | ".join(cells) + " |", flush=True)
    for task, ratios in PAPER.items():
        print(f"| {task}, as published (GPU, full networks) | " + " | ".join(f"{r:g} ×" for r in ratios) + " |")


if __name__ == "__main__":
    main()
