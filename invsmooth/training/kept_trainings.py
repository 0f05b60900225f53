"""The cache of trainings: finished ones are reused, interrupted ones go on."""

from __future__ import annotations

import io
import json
import logging
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from invsmooth.cache.content import file_key
from invsmooth.cache.locks import locked
from invsmooth.cache.store import make_way, remove
from invsmooth.core.files import replaced, write_bytes

log = logging.getLogger(__name__)

BEST, LAST, UNDERWAY = "best.ckpt", "last.ckpt", "underway.ckpt"
RESUMED = {"batches_seen", "callbacks", "epoch", "global_step", "loops", "lr_schedulers", "optimizer_states"}
"""Entries of a checkpoint that a training needs to go on, beside the weights."""


class Training:
    """The folder of a training, by the key of all that determines it: ``checkpoints`` and, for each
    time that the training was begun or went on, ``metrics/<n>``. When it is finished, ``done.json``
    has the hashes of the checkpoints.

    Args:
        like: the state dict of the module that is trained; None takes any."""

    def __init__(self, cache: Path, key: str, like: Mapping[str, Tensor] | None = None) -> None:
        self.cache, self.folder = cache, cache / "trainings" / key
        self.checkpoints, self.metrics = self.folder / "checkpoints", self.folder / "metrics"
        self.shapes = None if like is None else {name: value.shape for name, value in like.items()}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block no other process runs the same training: it waits."""
        make_way(self.folder / "lock", self.cache)
        for part in (self.checkpoints, self.metrics):
            make_way(part / "any", self.cache)
        with locked(self.folder / "lock", f"the same training ({self.folder})"):
            yield

    def finished(self) -> bool:
        """Whether it is complete. A damaged one is removed, with a warning."""
        path = self.folder / "done.json"
        if not path.exists():
            return False
        try:
            done = json.loads(path.read_text(encoding="utf-8"))
            hashes = {n: file_key(f) for n in (BEST, LAST) if (f := self.checkpoints / n).is_file()}
            whole = bool(done) and done == hashes and all(self.content(n) for n in done)
        except (OSError, ValueError):
            whole = False
        if not whole:
            log.warning("%s is damaged (done.json and the checkpoints do not agree): it is trained again", self.folder)
            self.clear()
        return whole

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation; the last one where nothing was validated."""
        path = self.checkpoints / BEST
        return path if path.is_file() else self.checkpoints / LAST

    def clear(self) -> None:
        remove(self.folder / "done.json")
        for part in (self.checkpoints, self.metrics):
            remove(part)
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def latest(self) -> Path | None:
        """The newest undamaged checkpoint to go on from; None without the best weights so far."""
        found = [p for n in (LAST, UNDERWAY) if (p := self.checkpoints / n).is_file()]
        for path in sorted(found, key=lambda p: p.stat().st_mtime_ns, reverse=True):
            content = self.content(path.name)
            if content is None or not content.keys() >= RESUMED:
                log.warning("%s is damaged and not used", path)
            elif had_a_best(content["callbacks"]) and self.content(BEST) is None:
                log.warning("%s is damaged or gone: %s is not used without it", self.checkpoints / BEST, path)
            else:
                return path
        return None

    def content(self, name: str) -> dict[str, Any] | None:
        """What a checkpoint holds; None if it is no whole checkpoint of a module of this shape."""
        path = self.checkpoints / name
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:  # a part does not fit its checksum
                    return None
            found = torch.load(path, map_location="cpu", weights_only=True)
            shapes = {key: value.shape for key, value in found["state_dict"].items()}
        except Exception:  # zipfile and torch raise a different error for each way a file can be wrong
            return None
        return found if self.shapes in (None, shapes) else None

    def finish(self) -> None:
        found = {p.name: file_key(p) for p in sorted(self.checkpoints.glob("*.ckpt")) if p.name in (BEST, LAST)}
        write_bytes(self.folder / "done.json", json.dumps(found).encode())
        (self.checkpoints / UNDERWAY).unlink(missing_ok=True)

    def curve(self, stop: int | None = None) -> Iterator[tuple[Mapping[str, float], int]]:
        """The logged (values, batch) before batch ``stop``, of each attempt up to the next one."""
        found = [p for p in self.metrics.glob("*/metrics.csv") if p.parent.name.isdecimal()]
        attempts = sorted(found, key=lambda p: int(p.parent.name))
        frames = [f for f in map(read_curve, attempts) if len(f)]
        for i, frame in enumerate(frames):
            ends = [int(later["step"].min()) for later in frames[i + 1 :]] + ([] if stop is None else [stop])
            kept = frame[frame["step"] < min(ends)] if ends else frame
            for _, line in kept.iterrows():
                values = {str(k): float(v) for k, v in line.dropna().items()}
                step = int(values.pop("step"))
                yield values | {"epoch": int(values["epoch"])}, step

    def copy_to(self, folder: Path) -> None:
        """Copy the checkpoints into a folder of a run's. Links would expose the cache."""
        folder.mkdir(exist_ok=True)
        for name in (BEST, LAST):
            if (self.checkpoints / name).is_file():
                with replaced(folder / name) as temporary:
                    shutil.copyfile(self.checkpoints / name, temporary)


def had_a_best(states: Any) -> bool:
    """Whether there was a best validation when Lightning saved these states of callbacks."""
    return isinstance(states, dict) and any(isinstance(s, dict) and s.get("best_model_path") for s in states.values())


def read_curve(path: Path) -> Any:
    """The whole lines of a metrics.csv as a data frame; empty, with a warning, if it is damaged."""
    import pandas as pd

    with suppress(OSError, ValueError, KeyError):
        whole, newline, rest = path.read_text(encoding="utf-8").rpartition("\n")
        frame = pd.read_csv(io.StringIO(whole + newline)).astype(float)
        if rest:
            log.warning("%s ends within a line, which is left out", path)
        if np.isfinite(frame[["epoch", "step"]].to_numpy()).all():
            return frame
    log.warning("%s is damaged: the curve lacks what was logged there", path)
    return pd.DataFrame()
