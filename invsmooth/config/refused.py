"""A run that is refused before any work leaves nothing behind."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from invsmooth.config import cli
from invsmooth.core.devices import in_sweep
from invsmooth.core.errors import ConfigError
from invsmooth.core.files import missing_folders, try_to_write
from invsmooth.core.pipes import leave_pipe

try:
    import fcntl
except ImportError:  # Windows: without this lock
    fcntl = None  # type: ignore[assignment]

OWNED = "INVSMOOTH_RUN_FOLDER"
"""Of this process and those that it starts: the folder that they write to together."""
STARTED = "run.json"  # is written when the checks are over and the work begins


class Beginning:
    """What was there before Hydra made the run folder.

    Attributes:
        made: folders that are made for this run, the innermost first.
        held: names in the run folder, if it was there.
        descriptor: of the run folder, whose lock this process has."""

    def __init__(self) -> None:
        self.made: list[Path] = []
        self.held: set[str] = set()
        self.descriptor: int | None = None

    def note(self, folder: Path) -> None:
        """Raises: ConfigError: nothing can be written there."""
        self.made = missing_folders(folder)
        self.held = set(os.listdir(folder)) if folder.is_dir() else set()
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
        if (folder / STARTED).exists():
            return
        hydra = HydraConfig.get()
        close_logs(folder)
        for name in {str(hydra.output_subdir), f"{hydra.job.name}.log"} - self.held:
            shutil.rmtree(folder / name, ignore_errors=True)
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            for made in self.made:
                made.rmdir()


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
    without the run folder unless the work had begun. (A sweep reports on the errors of its jobs.)"""
    try:
        yield
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
