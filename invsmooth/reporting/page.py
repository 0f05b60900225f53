"""Write a report: rows in, table, figures and page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from invsmooth.reporting.figures import certificate_figure, save
from invsmooth.reporting.html_page import write_page
from invsmooth.reporting.notes import choice_note, confidence_notes, unit_note
from invsmooth.reporting.sandwich_figure import has_curves, sandwich_figure
from invsmooth.reporting.tables import markdown, short
from invsmooth.reporting.visual_figure import visual_figure
from invsmooth.rows import read_rows
from invsmooth.run_record import write_text


def report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write table.md, figures and index.html of the runs in ``folders`` to ``out``, print a short table and where they are.

    Returns: the files written.
    """
    rows = read_rows(folders)
    out.mkdir(parents=True, exist_ok=True)
    figures = {"certificate": certificate_figure(rows)}
    if has_curves(rows):
        figures["sandwich"] = sandwich_figure(rows)
    notes, visual = confidence_notes(rows), visual_figure(rows)
    if visual is not None:
        figures["visual"] = visual
        notes += [f"Of visual.png: {choice}" for choice in [choice_note(rows)] if choice]
    table = out / "table.md"
    write_text(table, markdown(rows, notes))
    written = [table, *(file for name, figure in figures.items() for file in save(figure, out / name))]
    written.append(write_page(rows, out, written))
    print_short(rows)
    for path in written:
        print(path.resolve())
    return written


def print_short(rows: pd.DataFrame) -> None:
    """The short table, on the terminal."""
    from rich.console import Console
    from rich.table import Table

    header, lines = short(rows)
    table = Table(
        title="PSNR in dB, means over the images. Per σ (grey levels): smoothed (certificate: MSE; error: PSNR; radius: ε)",
        caption=unit_note(rows) or None,
    )
    for name in header:
        table.add_column(name, justify="left" if name in ("task", "algo", "certifier") else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = Console()
    # A pipe or a log has no width of its own: 80 columns would cut the numbers.
    (console if console.is_terminal else Console(width=160)).print(table)
