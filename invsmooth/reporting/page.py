"""Write a report: rows in, table, figures and page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from invsmooth.records.rows import read_rows
from invsmooth.records.run_record import write_text
from invsmooth.reporting.artefacts import write_artefacts
from invsmooth.reporting.figures import WITHOUT_CERTIFIER, certificate_figure, save
from invsmooth.reporting.html_page import write_page
from invsmooth.reporting.methods import label_methods, read_runs, with_methods
from invsmooth.reporting.notes import choice_note, notes, unit_note
from invsmooth.reporting.tables import markdown, short
from invsmooth.reporting.truth_figure import has_curves, truth_figure
from invsmooth.reporting.visual_figure import visual_figure


def report(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write table.md, the figures, the tables and index.html of the runs in ``folders`` to ``out``, print a short table and
    where the files are.

    Returns: the files written.

    Raises: ConfigError: a run's config.yaml or metrics.csv cannot be read.
    """
    found = read_rows(folders)
    runs = read_runs(found)
    compared = with_methods(found, runs)
    rows = label_methods(compared)
    out.mkdir(parents=True, exist_ok=True)
    few = first_settings(rows)
    figures = {"certificate": certificate_figure(few)}
    if has_curves(few):
        figures["truth"] = truth_figure(few)
    said, visual = notes(rows), visual_figure(few)
    if len(few) < len(rows):
        said.append(f"The figures beside this file show {MOST} settings only: narrow runs= to see others.")
    if visual is not None:
        figures["visual"] = visual
        said += [f"Of visual.png: {choice}" for choice in [choice_note(rows)] if choice]
    table = out / "table.md"
    write_text(table, markdown(rows, said))
    written = [table, *(file for name, figure in figures.items() for file in save(figure, out / name))]
    artefacts = write_artefacts(compared, runs, out)
    page = write_page(rows, out, [*written, artefacts[-1]])
    print_short(rows)
    for path in [*written, artefacts[-1], page]:
        print(path.resolve())
    return [*written, *artefacts, page]


MOST = 16
"""Settings in a figure: hundreds would be no figure, and take minutes."""


def first_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first MOST settings, in the order of the table."""
    number = rows.groupby(WITHOUT_CERTIFIER, dropna=False, sort=True).ngroup()
    return rows[number < MOST]


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
    (console if console.is_terminal else Console(width=400)).print(table)
