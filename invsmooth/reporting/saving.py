"""Write figures, which is most of the time of a large report: in other processes, while this one goes on."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.text import Text

DPI = 150
Make = Callable[[], Figure]
MANY_ROWS = 10_000
"""From so many on, figures take longer than processes to start."""


class Saver:
    """Draws and saves figures until its ``with`` block ends.

    Args:
        n_processes: that draw, with this one, which helps when the block ends. 1: only this one, at once.
            More need a ``__main__`` that can be imported again."""

    def __init__(self, n_processes: int = 1) -> None:
        # Not forked: this process may have threads.
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(n_processes - 1, mp_context=context) if n_processes > 1 else None
        # A pool of processes takes some figures in advance, which nobody else can draw then. One of threads does not.
        self.threads = ThreadPoolExecutor(max(1, n_processes - 1))
        self.underway: list[tuple[Future[list[Path]], Make, Path]] = []

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self.pool is None:
            return
        try:
            # The last first: the other processes started with the first.
            for future, make, path in reversed(self.underway) if kind is None else ():
                if future.cancel():
                    draw(make, path)
        finally:
            self.threads.shutdown(cancel_futures=True)
            self.pool.shutdown()
        for future, *_rest in self.underway if kind is None else ():
            if not future.cancelled():
                future.result()

    def save(self, make: Make, path: Path) -> list[Path]:
        """The files ``path``.png and ``path``.pdf of the figure that ``make`` draws, each all or nothing.
        They are there when the block has ended. ``make`` goes to another process: a partial of a
        function, whose arguments are far smaller than the figure."""
        if self.pool is None:
            return draw(make, path)
        self.underway.append((self.threads.submit(draw_in, self.pool, make, path), make, path))
        return files_of(path)


def draw_in(pool: ProcessPoolExecutor, make: Make, path: Path) -> list[Path]:
    return pool.submit(draw, make, path).result()


def draw(make: Make, path: Path) -> list[Path]:
    # Whatever the user's matplotlibrc has: names of images and methods are no LaTeX.
    with rc_context({"text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of names in other scripts; a box is drawn
        return save(make(), path)


def processes_for(n_rows: int) -> int:
    """How many draw the figures of so many rows: this one alone if they are few."""
    return min(4, len(os.sched_getaffinity(0))) if n_rows >= MANY_ROWS and hasattr(os, "sched_getaffinity") else 1


def files_of(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in (".png", ".pdf")]


def save(figure: Figure, path: Path) -> list[Path]:
    """Write ``path``.png and ``path``.pdf, each all or nothing."""
    figure.set_dpi(DPI)
    # The labels have no formulas, but names may have dollar signs. (The ticks get theirs when they are drawn.)
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if "$" in text.get_text():
            text.set_parse_math(False)
    # Of an empty label nobody sees the place, which takes as long to find as to lay out the ticks.
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if not axis.label.get_text()):
        axis.set_label_coords(0.5, 0.5)
    for final, write in zip(files_of(path), (as_png, as_pdf), strict=True):
        temporary = final.with_name(f".{path.name}.{os.getpid()}{final.suffix}")
        try:
            write(figure, temporary)
        except BaseException:  # a full disk
            temporary.unlink(missing_ok=True)
            raise
        figure.set_layout_engine("none")  # the layout of the first file serves the second, too
        os.replace(temporary, final)
    return files_of(path)


# Not by savefig, which draws a figure twice for each file: first to lay it out, which drawing it does as well.
def as_png(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure).print_png(path)


def as_pdf(figure: Figure, path: Path) -> None:
    FigureCanvasPdf(figure).print_pdf(path, metadata={"CreationDate": None})  # the same rows give the same file
