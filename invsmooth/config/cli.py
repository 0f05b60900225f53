"""Shared by the commands: exit codes, and one clear message in place of a stack trace for a user's mistake."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

import invsmooth
from invsmooth.config.hydra_errors import check_options, ours, reworded
from invsmooth.config.renamed import renamed
from invsmooth.core.console import printable
from invsmooth.core.errors import CheckpointError, ConfigError, DataError, DivergedError, PremiseError, ScratchError
from invsmooth.core.memory import keep_memory
from invsmooth.core.pipes import leave_pipe, until_closed
from invsmooth.core.redact import redact_text
from invsmooth.core.redacted_logs import redact_logs
from invsmooth.core.signals import SIGNALS, Interrupted, leave

USER_ERRORS = (
    ConfigError, DataError, CheckpointError, DivergedError, PremiseError, ScratchError, HydraException,
    OmegaConfBaseException,
)  # fmt: skip
GO_ON = "Finished results are cached: the same command goes on from there"


def run(app: Callable[[], None], after_error: Callable[[], int | None] = lambda: None) -> None:
    """Run a Hydra app. Exit codes: 2, with one message, for a user's mistake; 143, 130 or 129 after
    SIGTERM, Ctrl-C or SIGHUP; 141, and silence, where nobody reads the output any more; 1, with a
    stack trace, for a bug. ``after_error`` may return another one."""
    with until_closed():
        run_to_end(app, after_error)


def run_to_end(app: Callable[[], None], after_error: Callable[[], int | None]) -> None:
    # Hydra then hands its errors to us instead of printing and exiting with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a letter gets its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ["MPLBACKEND"] = "agg"  # files only; another one, or one that is not installed, could end the import
    conf = Path(__file__).parents[1] / "conf"
    if not (conf / "train.yaml").is_file():
        sys.exit(fail(ConfigError(f"{conf} has no configs: in a checkout it is a symbolic link to conf/; make it one")))
    prepare_process()
    try:
        SIGNALS.install()
        SIGNALS.go_on = lambda: "the same command begins again; what is cached is reused"
        check_options(sys.argv[1:])
        check_root()
        if "--version" in sys.argv[1:]:  # Hydra would tell its own alone
            print(f"invsmooth {invsmooth.__version__} (Hydra {hydra.__version__})")
            return
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Interrupted as stop:
        leave(stop)
    except SystemExit as stop:
        # Lightning ends with exit code 0 when it is terminated, Hydra with 1 where --package names nothing.
        code = 143 if type(stop).__name__ == "SIGTERMException" else stop.code
        sys.exit(2 if code == 1 and {"--cfg", "-c"} & set(sys.argv) else code)
    except BrokenPipeError:  # until_closed ends it
        raise
    except Exception as error:
        if SIGNALS.pending is not None:  # of an interruption OmegaConf makes an error of the value that it was at
            leave(Interrupted(128 + SIGNALS.pending))
        known = mistake(error)
        if known is None:
            print(redact_text(traceback.format_exc()), file=sys.stderr, end="")
        code = fail(known) if known else 1  # before after_error prints
        sys.exit(after_error() or code)
    finally:
        if SIGNALS.pending is None:  # else the end of the process is still looked after
            SIGNALS.uninstall()


def check_root() -> None:
    """Raises: ConfigError: INVSMOOTH_ROOT would be read as a reference to a key."""
    if "${" in (given := os.environ.get("INVSMOOTH_ROOT", "")):
        raise ConfigError(
            f"INVSMOOTH_ROOT={printable(given)} has ${{, which a config takes for a key; give another folder"
        )


def mistake(error: BaseException) -> BaseException | None:
    """The error to show, if the user can mend it; else None."""
    if isinstance(error, (HydraException, OmegaConfBaseException)) and ours(error):
        return None
    if isinstance(error, USER_ERRORS):
        return error
    if isinstance(error, MarkedYAMLError):  # of a config file of the user's
        return ConfigError(f"a config file is no YAML: {error.problem}\n{error.problem_mark}")
    if from_hydra(error) and not ours(error):
        return ConfigError(unread(error))
    full_or_read_only = (
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR,
        errno.ESTALE, errno.EIO,
    )  # fmt: skip
    if lost := gone(error):
        return lost
    if (isinstance(error, RuntimeError) and str(error) == "can't start new thread") or (
        isinstance(error, BlockingIOError) and error.errno == errno.EAGAIN
    ):
        return ConfigError(f"this machine lets the user start no more threads or processes (ulimit -u). {GO_ON}")
    if not isinstance(error, OSError) or error.errno not in full_or_read_only:
        return None
    where = f" ({error.filename})" if error.filename else ""
    return ConfigError(
        f"the outputs cannot be written: {error.strerror}{where}; free some space, or set INVSMOOTH_ROOT (or cache=FOLDER) "
        f"to a folder that can be written. {GO_ON}"
    )


def gone(error: BaseException, *folders: Path) -> ConfigError | None:
    """The message for an error of a system call, if the current folder, one of these, or one that a file was written to does
    not exist any more."""
    if isinstance(error, FileNotFoundError) and str(error.filename).endswith(".tmp"):  # of core.files.replaced
        folders += (Path(error.filename).parent,)
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = None
    lost = "the current folder" if here is None else next((str(f) for f in folders if not f.is_dir()), None)
    if lost is None or not isinstance(error, OSError):
        return None
    return ConfigError(f"{lost} is gone: it was removed or unmounted while the command ran. {GO_ON}")


def unread(error: BaseException) -> str:
    """What stopped Hydra as it read config files and the command line."""
    if isinstance(error, UnicodeDecodeError):
        return f"a config file is no UTF-8: save it as that ({error.reason}, byte {error.start + 1})"
    if isinstance(error, RecursionError):
        return "a config file, or the command line, is nested too deep, or an anchor in it contains itself"
    text = str(error)
    return text if text.startswith("Invalid defaults list in") else f"the command line cannot be read: {text}"


def from_hydra(error: BaseException) -> bool:
    """Whether Hydra or OmegaConf stumbled over the command line: neither reads anything once the work has begun."""
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    readers = ("hydra._internal.defaults_list", "hydra._internal.config_loader", "hydra.core.override_parser")
    composing = any(name.startswith(readers) for name in names)
    kinds = (ValueError, TypeError, AttributeError, RecursionError, LookupError, ArithmeticError)
    return composing and isinstance(error, kinds)


@contextmanager
def one_message() -> Iterator[None]:
    """A mistake of the user ends the command here: for an Exception Hydra would print its overrides, too."""
    try:
        yield
    except BrokenPipeError:
        leave_pipe()
    except Exception as error:
        known = mistake(error)
        if known is None:
            raise
        sys.exit(fail(known))


def prepare_process() -> None:
    """Set up a process that computes, also a worker of a launcher."""
    redact_logs()
    keep_memory()
    quieten_lightning()


def quieten_lightning() -> None:
    """Drop Lightning's advertisements, and warnings that the user cannot act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # batches are ready in memory: workers would only cost start-up
        "Experiment logs directory .* exists and is not empty.*",  # it is the run folder
        "Checkpoint directory .* exists and is not empty.*",  # a training goes on
        "You're resuming from a checkpoint that ended before the epoch ended.*",  # our batches are numbered
        ".*isinstance.treespec, LeafSpec.*",  # Lightning 2.6.6 on torch 2.13
    ):
        warnings.filterwarnings("ignore", message=message)


def fail(error: BaseException) -> int:
    """Print an error and its cause; return the exit code of a user's mistake."""
    said = redact_text(message(error)).split("\n")
    print("error: " + "\n  ".join(printable(line, 2000) for line in said), file=sys.stderr)
    return 2


def message(error: BaseException) -> str:
    text = str(error).strip()
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return text
    if isinstance(error, HydraException) and (new := renamed(f"{error} {error.__cause__}")):
        return new
    if missing := re.search(r"hydra/launcher/(joblib|ray|(submitit)_(?:local|slurm))\b", text):
        return f"the launcher {missing[1]} is not installed: pip install -e '.[{missing[2] or missing[1]}]'"
    return reworded(error)
