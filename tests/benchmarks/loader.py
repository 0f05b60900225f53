"""``make bench-data``: how fast patches are drawn, and which part of a training step waits for them.

The images are noise, in the number and size of Train400 and DIV2K. The step is that of ordinary training, the shortest:
every other algorithm waits a smaller part of its time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_module
from PIL import Image
from torch import Tensor

from invsmooth.config import schema
from invsmooth.core.memory import keep_memory
from invsmooth.data import ImageArrays, arrays, image_files, load
from invsmooth.data.decode import read_image
from invsmooth.data.patches import PatchBatches
from invsmooth.pipeline.build import build_estimator, build_module

SETS = {"Train400-like: 400 of 180×180, grey": (400, 180, 180), "DIV2K-size: 40 of 1356×2040, colour": (40, 1356, 2040)}
TASKS = {"cs_small": 0, "cs": 0, "denoise_small": 1, "denoise": 1}
"""Task -> position in SETS of the set that it trains on."""


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def make(folder: Path, count: int, height: int, width: int) -> Path:
    """Image files that compress about as well as photographs do."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    colour = (3,) if width > 1000 else ()
    for k in range(count):
        coarse = generator.integers(0, 250, (height // 8 + 1, width // 8 + 1, *colour), dtype=np.uint8)
        pixels = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        pixels += generator.integers(0, 6, pixels.shape, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:03}.png")
    return folder


def loaded(folder: Path, cache: Path, limit: int) -> tuple[ImageArrays, float]:
    arrays.CACHED_FROM = limit
    started = time.perf_counter()
    images = load(image_files(folder), cache)
    return images, time.perf_counter() - started


def step_seconds(task: str, patches: Tensor, n_steps: int) -> float:
    """Median seconds of a step of ordinary training on ``patches``, without loading."""
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose("train", [f"task={task}"])
    module = build_module(cfg, build_estimator(cfg, trains=True))
    optimizer = torch.optim.Adam(module.estimator.parameters())
    module.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign,assignment]
    operator = module.train_operators[0]
    b = torch.zeros_like(operator.A(patches))  # type: ignore[operator]

    def step() -> None:
        optimizer.zero_grad()
        module.accumulate_gradients(patches, b, operator, 0)  # type: ignore[arg-type]
        optimizer.step()

    return statistics.median([seconds(step) for _ in range(n_steps)][1:])


def main() -> None:
    keep_memory()
    schema.register()
    with tempfile.TemporaryDirectory() as temporary:
        kept: list[ImageArrays] = []
        for number, (name, size) in enumerate(SETS.items()):
            folder = make(Path(temporary) / str(number), *size)
            memory, decoding = loaded(folder, Path(temporary) / "cache", 1 << 60)
            _, preparing = loaded(folder, Path(temporary) / "cache", 0)
            mapped, mapping = loaded(folder, Path(temporary) / "cache", 0)
            whole = seconds(lambda f=folder: read_image(f / "000.png"))
            print(f"{name}: decoded {decoding:.2f} s, prepared {preparing:.2f} s, mapped {mapping:.3f} s")
            for p, size_b in ((33, 64), (40, 32)):
                for kind, images in (("memory", memory), ("mapped file", mapped)):
                    batches = PatchBatches(images, p, size_b, True, 0)
                    each = statistics.median(seconds(lambda k=k, b=batches: b[k]) for k in range(200))
                    print(
                        f"  {size_b} patches of {p}×{p} from {kind}: {size_b / each:,.0f} patches/s, {1000 * each:.2f} ms a "
                        f"batch (decoding one image: {1000 * whole:.1f} ms)"
                    )
            kept.append(mapped)
        print("part of a step that waits for data (ordinary training, no loader processes):")
        for task, number in TASKS.items():
            p, size_b = (33, 64) if task.startswith("cs") else (40, 32)
            batches = PatchBatches(kept[number], p, size_b, True, 0)
            loading = statistics.median(seconds(lambda k=k, b=batches: b[k]) for k in range(200))
            step = step_seconds(task, batches[0], 12 if task.endswith("small") else 4)
            print(
                f"  {task}: {100 * loading / (loading + step):.2f} % ({1000 * loading:.2f} ms of {1000 * step:.0f} ms)"
            )


if __name__ == "__main__":
    main()
