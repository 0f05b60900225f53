"""``python -m invsmooth.report runs=GLOB out=DIR``: tables and figures from the rows of any set of runs."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from invsmooth.config import cli, schema
from invsmooth.config.schema import Report
from invsmooth.core.console import printable
from invsmooth.core.errors import ConfigError
from invsmooth.core.files import try_to_write
from invsmooth.core.signals import SIGNALS

schema.register()

NAMES = ("results.parquet", "audit.parquet")


@hydra.main(version_base="1.3", config_path="conf", config_name="report")
def app(cfg: DictConfig) -> None:
    with cli.one_message():
        write(cfg)


class RefuseSweep(Callback):
    """The jobs would all write to ``out``. Hydra turns an Exception of a callback into a warning."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sys.exit(
            cli.fail(
                ConfigError(
                    "report has no --multirun: its jobs would overwrite each other's files in out. runs=[A,B] reports on "
                    "several runs together; for a report of each call it with an out= of its own"
                )
            )
        )


def write(cfg: DictConfig) -> None:
    """Raises: ConfigError: a value that is not allowed, no run folder, or an output folder that cannot be written."""
    from invsmooth.reporting import report

    check(cfg)
    runs = cfg.runs if OmegaConf.is_list(cfg.runs) else [cfg.runs]
    folders, out = find_runs(list(runs)), Path(cfg.out)
    try:
        try_to_write(out)
        if cfg.table is not None:
            write_one_table(cfg, folders, out)
            return
        with SIGNALS.saying(lambda: "the same command writes all again; what is there is whole"):
            report(folders, out, parallel=True)
    except BrokenPipeError:  # of what is printed
        raise
    except OSError as error:
        where = f" ({printable(error.filename, 300)})" if error.filename else ""
        raise ConfigError(
            f"out={out} cannot be written: {error.strerror or error}{where}; give another folder"
        ) from error
    print(f"\nreport of the rows in {len(folders)} folders: {printable(out.resolve(), 5000)}")


def check(cfg: DictConfig) -> None:
    """Raises: ConfigError: with every mistake that was found."""
    from invsmooth.config.validate import node_errors

    if OmegaConf.is_missing(cfg, "runs") or cfg.runs is None:
        raise ConfigError("runs has no value: give a glob of run folders, or a list, e.g. runs='outputs/cs_ord/*'")
    if errors := list(node_errors(cfg, Report)):
        raise ConfigError("\n".join(errors))
    if cfg.table is None and (ignored := [k for k, v in (("eps", 1.0), ("cards", None)) if cfg[k] != v]):
        raise ConfigError(f"{ignored[0]}={cfg[ignored[0]]} has no effect without table=robustness")
    if cfg.cards is not None and not Path(cfg.cards).is_dir():
        raise ConfigError(f"cards={cfg.cards} is no folder")


def write_one_table(cfg: DictConfig, folders: list[Path], out: Path) -> None:
    """Raises: ConfigError: what the table refuses."""
    from invsmooth.reporting.robustness import write_robustness

    if audits := [f for f in folders if not os.path.isfile(f / NAMES[0])]:
        raise ConfigError(f"table={cfg.table} is made of results.parquet, and {audits[0]} has none; narrow runs=")
    for path in write_robustness(folders, out, cfg.eps, None if cfg.cards is None else Path(cfg.cards)):
        print(printable(path.resolve(), 5000))


def find_runs(patterns: Sequence[str]) -> list[Path]:
    """The run folders that any of the paths or globs matches or that lie below; and folders that may not be read, which
    the report names.
    Raises: ConfigError: below one of them there is none."""
    found = set[Path]()
    for pattern in patterns:
        # A folder may be called br[1].
        matches = [Path(p) for p in ([pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True))]
        folders = {f for m in matches for f in ([m.parent] if m.name in NAMES else folders_below(m))}
        if not folders:
            raise ConfigError(
                f"runs={pattern}: no {' or '.join(NAMES)} there or below ({len(matches)} paths match the glob)"
            )
        found |= folders
    return sorted(found)


def folders_below(path: Path) -> Iterator[Path]:
    unread = list[OSError]()
    for folder, inner, names in os.walk(path, onerror=unread.append):
        if not set(NAMES).isdisjoint((*inner, *names)):
            yield Path(folder)
    yield from (Path(error.filename) for error in unread if isinstance(error, PermissionError))


def main() -> None:
    cli.run(app)


if __name__ == "__main__":
    main()
