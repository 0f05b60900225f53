"""Write figures, which is most of the time of a large report: in other processes, while this one goes on."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import TracebackType

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

DPI = 150
MANY_ROWS = 10_000
"""From so many on, figures take longer than processes to start."""


class Saver:
    """Saves figures until its ``with`` block ends.

    Args:
        n_processes: that draw. 1: this one. More need a ``__main__`` that can be imported again."""

    def __init__(self, n_processes: int = 1) -> None:
        # Not forked: this process may have threads.
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(n_processes, mp_context=context) if n_processes > 1 else None
        self.underway: list[Future[list[Path]]] = []

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for future in self.underway:
                future.result()

    def save(self, figure: Figure, path: Path) -> list[Path]:
        """The files ``path``.png and ``path``.pdf, each all or nothing. They are there when the block has ended."""
        if self.pool is None:
            return save(figure, path)
        self.underway.append(self.pool.submit(save, figure, path))
        return files_of(path)


def processes_for(n_rows: int) -> int:
    """How many draw the figures of so many rows: none but this one if they are few."""
    return min(4, len(os.sched_getaffinity(0))) if n_rows >= MANY_ROWS and hasattr(os, "sched_getaffinity") else 1


def files_of(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in (".png", ".pdf")]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path``.png and ``path``.pdf, each all or nothing."""
    figure.set_dpi(DPI)
    for final, write in zip(files_of(path), (as_png, as_pdf), strict=True):
        temporary = final.with_name(f".{path.name}.{os.getpid()}{final.suffix}")
        write(figure, temporary)
        figure.set_layout_engine("none")  # the layout of the first file serves the second, too
        os.replace(temporary, final)
    return files_of(path)


# Not by savefig, which draws a figure twice for each file: first to lay it out, which drawing it does as well.
def as_png(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path)


def as_pdf(figure: Figure, path: Path) -> None:
    FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None})  # the same rows give the same file
