"""A run or a sweep that is refused before any work leaves its folder as it was."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth.config import cli
from invsmooth.core.devices import in_sweep
from invsmooth.core.errors import ConfigError
from invsmooth.core.files import missing_folders, try_to_write, write_bytes
from invsmooth.core.pipes import leave_pipe

try:
    import fcntl
except ImportError:  # Windows: without this lock
    fcntl = None  # type: ignore[assignment]

OWNED = "INVSMOOTH_RUN_FOLDER"
"""Of this process and those that it starts: the folder that they write to together."""
STARTED = "run.json"  # is written when the checks are over and the work begins
MULTIRUN, PLAN, SUBMITIT = "multirun.yaml", "plan.json", ".submitit"


class Beginning:
    """What was there before Hydra made the folder of a run or of a sweep.

    Attributes:
        made: folders that are made for it, the innermost first.
        held: names in the folder, if it was there.
        kept: content of the files in it that Hydra writes.
        log: length of the log in it, to which Hydra appends.
        record: time and number of its run.json; None if there is none.
        descriptor: of the run folder, whose lock this process has."""

    def __init__(self) -> None:
        self.made: list[Path] = []
        self.held: set[str] = set()
        self.kept: dict[Path, bytes] = {}
        self.log = 0
        self.record: tuple[int, int] | None = None
        self.descriptor: int | None = None

    def note_sweep(self, folder: Path) -> None:
        self.made = missing_folders(folder)
        self.held = set(os.listdir(folder)) if folder.is_dir() else set()
        self.kept = {p: p.read_bytes() for p in (folder / MULTIRUN,) if p.is_file()}

    def undo_sweep(self, folder: Path) -> bool:
        """Remove what Hydra wrote, if no job has begun; whether that is so."""
        if not folder.is_dir():
            return False
        with suppress(OSError):  # it has a job
            (folder / SUBMITIT).rmdir()
        if set(os.listdir(folder)) - self.held - {MULTIRUN}:
            return False
        self.restore({folder / MULTIRUN})
        return True

    def note(self, hydra: DictConfig) -> None:
        """Raises: ConfigError: nothing can be written to the run folder."""
        folder = Path(hydra.run.dir)
        self.made = missing_folders(folder)
        self.held = set(os.listdir(folder)) if folder.is_dir() else set()
        own, log = folder / str(hydra.output_subdir), log_file(folder, hydra)
        with suppress(OSError):
            self.kept = {p: p.read_bytes() for p in own.glob("*.yaml")}
        self.log = log.stat().st_size if log.is_file() else 0
        self.record = record_of(folder)
        try:
            try_to_write(folder)
        except OSError as error:
            raise ConfigError(
                f"hydra.run.dir={folder} cannot be written: {error.strerror}; give another folder"
            ) from error
        self.lock(folder)

    def lock(self, folder: Path) -> None:
        """One process at a time writes to a run folder; the system frees the lock when the process ends. (The processes that
        one run starts on several devices belong to it.) A file system without locks lets both write.
        Raises: ConfigError: another process does."""
        if fcntl is None or os.environ.get(OWNED) == str(folder.absolute()):
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.free()
            raise ConfigError(
                f"hydra.run.dir={folder}: another run writes to this folder; wait for it, or give another folder"
            ) from error
        except OSError:  # no locks there
            pass
        os.environ[OWNED] = str(folder.absolute())

    def free(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None
            os.environ.pop(OWNED, None)

    def undo(self, folder: Path) -> None:
        """Remove what Hydra wrote, if the work has not begun. What was there before stays."""
        if record_of(folder) != self.record:
            return
        hydra = HydraConfig.get()
        close_logs(folder)
        own, log = folder / str(hydra.output_subdir), log_file(folder, hydra)
        if log.name in self.held:
            os.truncate(log, self.log)
        self.restore({own, log, folder / PLAN})

    def restore(self, written: Collection[Path]) -> None:
        """Remove files and folders that were ``written``, but for those that were there; these get their content back."""
        for path in written:
            if path.name not in self.held:
                shutil.rmtree(path, ignore_errors=True)
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        for path, content in self.kept.items():
            write_bytes(path, content)
        self.remove_made()

    def remove_made(self) -> None:
        """Remove the folders that were made, up to the first that is not empty."""
        with suppress(OSError):
            for made in self.made:
                if made.is_dir():
                    made.rmdir()


def log_file(folder: Path, hydra: Any) -> Path:
    return folder / f"{hydra.job.name}.log"


def record_of(folder: Path) -> tuple[int, int] | None:
    """Differs after :data:`STARTED` was written."""
    try:
        found = (folder / STARTED).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def close_logs(folder: Path) -> None:
    """Log files in a folder: they would be opened again by the next message."""
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).parent == folder.absolute():
            logging.getLogger().removeHandler(handler)
            handler.close()


BEGINNING = Beginning()


@contextmanager
def leaving_nothing(folder: Path) -> Iterator[None]:
    """A mistake of the user that the block finds ends a single command here: with its message alone, exit code 2, and
    without the run folder unless the work had begun. (A sweep reports on the errors of its jobs.) So does ``sweep=plan``."""
    try:
        yield
        if not in_sweep():
            BEGINNING.undo(folder)  # a plan begins no work
    except BrokenPipeError:  # nobody reads the output; Hydra would go on with the next job
        with suppress(OSError):
            BEGINNING.undo(folder)
        leave_pipe()
    except Exception as error:
        lost = cli.gone(error, folder)
        known = lost or cli.mistake(error)
        if lost is not None and in_sweep():
            raise lost from error
        if known is None or in_sweep():
            raise
        code = cli.fail(known)
        with suppress(OSError):
            BEGINNING.undo(folder)
        # Hydra prints its overrides for an Exception.
        sys.exit(code)
    finally:
        BEGINNING.free()
