"""Write a report: rows in; tables, figures and page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from invsmooth.core.files import write_text
from invsmooth.records.audits import AUDIT
from invsmooth.records.rows import read_rows
from invsmooth.reporting.artefacts import write_artefacts
from invsmooth.reporting.audits import report_audits
from invsmooth.reporting.averages import PANEL, Averages
from invsmooth.reporting.figures.certificate import certificate_figure
from invsmooth.reporting.figures.psnr import psnr_figure
from invsmooth.reporting.figures.truth import has_curves, truth_figure
from invsmooth.reporting.figures.visual import visual_figure
from invsmooth.reporting.methods import read_runs, with_methods
from invsmooth.reporting.notes import choice_note, notes
from invsmooth.reporting.page.html import write_page
from invsmooth.reporting.saving import Saver, processes_for
from invsmooth.reporting.tables.overview import overview, print_short
from invsmooth.reporting.tables.writers import markdown

MOST = 8  # settings in a figure: more would be unreadable, and take minutes


def report(folders: Sequence[Path], out: Path, parallel: bool = False) -> list[Path]:
    """Write table.md, the figures, the tables and index.html of the runs in ``folders`` to ``out``,
    print a short table and the paths; of audits among them audit.md and the frontier. ``parallel``: many figures
    are drawn by several processes, for which ``__main__`` is imported again. Returns: the files written.

    Raises: ConfigError: a run's config.yaml or metrics.csv cannot be read."""
    if audits := [f for f in folders if (f / AUDIT).is_file()]:
        written = report_audits(audits, out)
        for path in written:
            print(path.resolve())
        rest = [f for f in folders if f not in audits]
        return [*written, *(report(rest, out, parallel) if rest else [])]
    rows, declared = read_rows(folders)
    runs = read_runs(rows)
    averages = Averages(with_methods(rows, runs), declared)
    rows = averages.rows
    out.mkdir(parents=True, exist_ok=True)
    few = rows[rows.groupby(PANEL, dropna=False, sort=True).ngroup() < MOST]  # in the order of the table
    shown = averages if len(few) == len(rows) else Averages(few, declared)
    figures = {"certificate": certificate_figure(shown)}
    if (psnr := psnr_figure(shown)) is not None:
        figures["psnr_over_eps"] = psnr
    if has_curves(few):
        figures["truth"] = truth_figure(shown)
    said = notes(rows, declared)
    beside, visual = list(said), visual_figure(few, declared)
    if len(few) < len(rows):
        beside.append(f"The figures beside this file show {MOST} settings only: narrow runs= to see others.")
    if visual is not None:
        figures["visual"] = visual
        beside += [f"Of visual.png: {choice}" for choice in [choice_note(rows, declared)] if choice]
    write_text(out / "table.md", markdown(overview(averages, beside)))
    with Saver(processes_for(len(rows)) if parallel else 1) as saver:
        drawn = [file for name, figure in figures.items() for file in saver.save(figure, out / name)]
        written = [out / "table.md", *drawn]
        artefacts = write_artefacts(averages, runs, said, out, saver)
        page = write_page(rows, declared, out, [*written, artefacts[-1]])
    print_short(averages)
    for path in [*written, artefacts[-1], page]:
        print(path.resolve())
    return [*written, *artefacts, page]
