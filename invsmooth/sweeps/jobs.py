"""Which jobs a sweep has. Each notes itself in the sweep's folder when it starts, so that it is found whatever Hydra's
options (``hydra.sweep.subdir``, ``hydra.output_subdir``, ``hydra.job.chdir``) say of its own folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import filter_overrides
from omegaconf import DictConfig, OmegaConf

from invsmooth.core.errors import FolderTaken
from invsmooth.core.files import write_text
from invsmooth.core.redact import redact
from invsmooth.core.signals import SIGNALS

NOTES = ".jobs"
OUTPUT_SUBDIR = ".hydra"  # where Hydra writes the overrides of a job, in its folder
OVERRIDES = f"{OUTPUT_SUBDIR}/overrides.yaml"
CACHE = "sweep"  # in the root's cache, which Hydra copies from a sweep to its jobs, in whatever process they run


@dataclass(frozen=True)
class Note:
    """What a job noted when it started; ``failed``: why it was refused its folder, which is another job's."""

    number: int
    folder: Path
    overrides: list[str]
    failed: dict[str, Any] | None = None


EARLIER: dict[Path, int] = {}
"""Folders of jobs that an earlier command left where this one has its sweep, with the time of their overrides. A job of
this command that gets such a folder writes them anew."""


class Own:
    """The job that runs in this process."""

    refused: ClassVar[FolderTaken | None] = None


def begin_sweep(config: DictConfig) -> None:
    """Tell the jobs where this command has the sweep's folder, and the user how an interrupted sweep goes on. A sweep
    that is started again has new jobs."""
    SIGNALS.go_on = lambda: "the same command goes on; what its jobs cached is reused"
    folder = Path(config.hydra.sweep.dir).absolute()
    OmegaConf.get_cache(config)[CACHE]["folder"] = str(folder)
    shutil.rmtree(folder / NOTES, ignore_errors=True)
    EARLIER.clear()
    EARLIER.update({p.parents[1].resolve(): p.stat().st_mtime_ns for p in folder.glob(f"*/{OVERRIDES}")})


def sweep_folder(config: DictConfig) -> Path:
    """Of the sweep that a job is of; absolute, for a job may change its directory."""
    return Path(OmegaConf.get_cache(config)[CACHE].get("folder") or config.hydra.sweep.dir).absolute()


def begin_job(config: DictConfig) -> None:
    """Note the job. If another job of the sweep has its folder, :func:`raise_refused` will say so."""
    sweep, folder = sweep_folder(config), Path(config.hydra.runtime.output_dir)
    number = int(config.hydra.job.num)
    others = [note.number for note in notes(sweep) if note.folder == folder and note.number != number]
    Own.refused = None
    if others:
        Own.refused = FolderTaken(
            f"hydra.sweep.subdir={config.hydra.sweep.subdir}: job {others[0]} has this folder, too, and one would overwrite "
            "the rows of the other; put ${hydra.job.num} into it"
        )
    told = redact(filter_overrides(list(config.hydra.overrides.task)))
    write_note(sweep, Note(number, folder, told, None))


def raise_refused() -> None:
    """Raises: FolderTaken: the folder of the job in this process is another job's."""
    if Own.refused is not None:
        raise Own.refused


def note_refusal(config: DictConfig, failed: dict[str, Any]) -> None:
    """Note why a job failed beside its folder, which is another job's or an earlier run's."""
    folder, told = Path(config.hydra.runtime.output_dir), redact(list(config.hydra.overrides.task))
    write_note(sweep_folder(config), Note(int(config.hydra.job.num), folder, told, failed))


def write_note(sweep: Path, note: Note) -> None:
    (sweep / NOTES).mkdir(parents=True, exist_ok=True)
    content = {"folder": os.path.relpath(note.folder, sweep), "overrides": note.overrides, "failed": note.failed}
    write_text(sweep / NOTES / f"{note.number}.json", json.dumps(content, indent=2))


def notes(sweep: Path) -> Iterator[Note]:
    """In the order of their numbers. A note that cannot be read is left out: its job's folder may still be found."""
    found = [path for path in (sweep / NOTES).glob("*.json") if path.stem.isdecimal()]
    for path in sorted(found, key=lambda path: int(path.stem)):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            folder = Path(os.path.normpath(sweep / told["folder"]))
            yield Note(int(path.stem), folder, [str(o) for o in told["overrides"]], told["failed"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
