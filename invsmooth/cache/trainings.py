"""Trainings that are kept: finished ones are taken over, interrupted ones go on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from invsmooth.atomic import replaced, write_bytes
from invsmooth.cache.content import file_key
from invsmooth.cache.locks import locked

log = logging.getLogger(__name__)

BEST, LAST, UNDERWAY = "best.ckpt", "last.ckpt", "underway.ckpt"


class Training:
    """The folder of a training, by the key of all that determines it.

    Attributes:
        folder: with ``checkpoints`` and, for each time that the training was begun or went on, ``metrics/<n>``. When it is
            finished, ``done.json`` has the hashes of the checkpoints.
    """

    def __init__(self, cache: Path, key: str) -> None:
        self.folder = cache / "trainings" / key
        self.checkpoints, self.metrics = self.folder / "checkpoints", self.folder / "metrics"

    @contextmanager
    def held(self) -> Iterator[None]:
        """One process trains; others that want the same training wait before this block."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock", f"the same training ({self.folder})"):
            yield

    def finished(self) -> bool:
        """Whether it is there whole. A damaged one is removed."""
        try:
            done: dict[str, str] = json.loads((self.folder / "done.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return False
        if all((f := self.checkpoints / n).is_file() and file_key(f) == sha256 for n, sha256 in done.items()):
            return True
        log.warning("%s is damaged (its checkpoints do not fit their hashes): it is trained again", self.folder)
        self.clear()
        return False

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation; the last one where nothing was validated."""
        path = self.checkpoints / BEST
        return path if path.is_file() else self.checkpoints / LAST

    def clear(self) -> None:
        (self.folder / "done.json").unlink(missing_ok=True)
        for part in (self.checkpoints, self.metrics):
            shutil.rmtree(part, ignore_errors=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def latest(self) -> Path | None:
        """The newest whole checkpoint to go on from."""
        for path in sorted(self.checkpoints.glob("*.ckpt"), key=lambda p: p.stat().st_mtime_ns, reverse=True):
            if path.name != BEST and is_whole(path):
                return path
        return None

    def finish(self) -> None:
        found = {p.name: file_key(p) for p in sorted(self.checkpoints.glob("*.ckpt")) if p.name in (BEST, LAST)}
        write_bytes(self.folder / "done.json", json.dumps(found).encode())
        (self.checkpoints / UNDERWAY).unlink(missing_ok=True)

    def attempts(self) -> list[Path]:
        """metrics.csv of each time that the training was begun or went on, in order."""
        return sorted(self.metrics.glob("*/metrics.csv"), key=lambda p: int(p.parent.name))

    def curve(self, stop: int | None = None) -> Iterator[tuple[Mapping[str, float], int]]:
        """What was logged, as (values, batch): of an attempt what comes before the next one, and before batch ``stop``."""
        import pandas as pd

        frames = [f for f in (pd.read_csv(p) for p in self.attempts()) if len(f)]
        for i, frame in enumerate(frames):
            ends = [int(later["step"].min()) for later in frames[i + 1 :]] + ([] if stop is None else [stop])
            kept = frame[frame["step"] < min(ends)] if ends else frame
            for _, line in kept.iterrows():
                values = {str(k): float(v) for k, v in line.dropna().items()}
                step = int(values.pop("step"))
                yield values | {"epoch": int(values["epoch"])}, step

    def link(self, folder: Path) -> None:
        """Put the checkpoints into a run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in (BEST, LAST):
            if (self.checkpoints / name).is_file():
                link_or_copy(self.checkpoints / name, folder / name)


def is_whole(checkpoint: Path) -> bool:
    """Whether every part of a checkpoint fits its checksum."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if archive.testzip() is None:
                return True
    except (OSError, zipfile.BadZipFile):
        pass
    log.warning("%s is damaged and not used", checkpoint)
    return False


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file where the file system can, else a copy."""
    with replaced(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
