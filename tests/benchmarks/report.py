"""``make bench-report``: seconds to read and average hundreds of runs, and to write the whole report."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invsmooth.records.rows import read_rows
from invsmooth.reporting import report
from invsmooth.reporting.artefacts import tables
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.methods import read_runs, with_methods
from tests.reporting.sweep_made import write_many


def timed(name: str, run: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    found = run()
    print(f"{name}: {time.perf_counter() - started:.2f} s", flush=True)
    return found


def main(n_runs: int = 500) -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = timed(f"(making {n_runs} runs)", lambda: write_many(Path(folder), n_runs))
        rows, declared = timed("read rows", lambda: read_rows(folders))
        runs = timed("read configs and metrics", lambda: read_runs(rows))
        rows = timed("label methods", lambda: with_methods(rows, runs))
        averages = timed(f"average {len(rows)} rows", lambda: Averages(rows, declared))
        made = timed(f"tables of {len(averages.table)} cells, with bootstraps", lambda: list(tables(averages, runs)))
        print(f"{sum(table.has_numbers() for table in made)} tables")

        def whole() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                report(folders, Path(folder) / "report", parallel=True)

        timed("the whole report, figures included", whole)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
