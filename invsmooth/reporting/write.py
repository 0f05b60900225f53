"""Write a report: rows in; tables, figures and page out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from invsmooth.core.console import printable
from invsmooth.core.errors import ConfigError
from invsmooth.core.files import write_text
from invsmooth.records.audits import AUDIT
from invsmooth.records.rows import count_rows
from invsmooth.reporting.artefacts import write_artefacts
from invsmooth.reporting.audits import report_audits
from invsmooth.reporting.averages import PANEL, Averages
from invsmooth.reporting.damage import DamagedRuns, listed, sound_runs
from invsmooth.reporting.figures.certificate import certificate_figure
from invsmooth.reporting.figures.psnr import psnr_figure
from invsmooth.reporting.figures.truth import has_curves, truth_figure
from invsmooth.reporting.figures.visual import visual_figure
from invsmooth.reporting.methods import with_methods
from invsmooth.reporting.notes import choice_note, notes
from invsmooth.reporting.page.html import write_page
from invsmooth.reporting.psnr_curves import has_psnr, psnr_curves
from invsmooth.reporting.saved_pictures import with_pictures
from invsmooth.reporting.saving import Make, Saver, processes_for
from invsmooth.reporting.tables.overview import overview, print_short
from invsmooth.reporting.tables.writers import markdown

LEFT_OUT = "left out of the report, because it is damaged:"
MOST = 6  # settings in a figure: more would be unreadable, and take minutes


def report(folders: Sequence[Path], out: Path, parallel: bool = False) -> list[Path]:
    """Write table.md, the figures, the tables and index.html of the runs in ``folders`` to ``out``,
    print a short table and the paths; of audits among them audit.md and the frontier. ``parallel``: many figures
    are drawn by several processes, for which ``__main__`` is imported again. Returns: the files written.

    Raises: DamagedRuns: after all that, folders or files that were left out. ConfigError: no run can be used."""
    if audits := [f for f in folders if os.path.lexists(f / AUDIT)]:
        damaged: dict[Path, str] = {}
        written = report_audits(audits, out, damaged)
        for path in written:
            print(printable(path.resolve(), 5000))
        rest = [f for f in folders if f not in audits]
        if damaged and not rest and not written:
            raise ConfigError(f"none of the audits can be used:{listed(damaged)}")
        try:
            written += report(rest, out, parallel) if rest else []
        except DamagedRuns as error:
            raise DamagedRuns(f"{error}{listed(damaged)}") from error
        if damaged:
            raise DamagedRuns(f"{LEFT_OUT}{listed(damaged)}")
        return written
    with Saver(processes_for(count_rows(folders)) if parallel else 1) as saver:
        rows, declared, runs, damaged = sound_runs(folders)
        averages = Averages(with_methods(rows, runs), declared)
        rows = averages.rows
        out.mkdir(parents=True, exist_ok=True)
        few = rows[rows.groupby(PANEL, dropna=False, sort=True).ngroup() < MOST]  # in the order of the table
        shown = averages if len(few) == len(rows) else Averages(few, declared)
        drawn = [file for name, make in figures(shown).items() for file in saver.save(make, out / name)]
        said = notes(rows, declared)
        beside = list(said)
        if len(few) < len(rows):
            beside.append(f"The figures beside this file show {MOST} settings only: narrow runs= to see others.")
        if out / "visual.png" in drawn:
            beside += [f"Of visual.png: {choice}" for choice in [choice_note(rows, declared)] if choice]
        write_text(out / "table.md", markdown(overview(averages, beside)))
        written = [out / "table.md", *drawn]
        artefacts = write_artefacts(averages, runs, said, out, saver)
        page = write_page(rows, declared, out, [*written, artefacts[-1]], averages=averages, said=said)
        print_short(averages)
    for path in [*written, artefacts[-1], page]:
        print(printable(path.resolve(), 5000))
    if damaged:
        raise DamagedRuns(f"{LEFT_OUT}{listed(damaged)}")
    return [*written, *artefacts, page]


def figures(shown: Averages) -> dict[str, Make]:
    """The figures of a few settings, not yet drawn, by the names of their files."""
    found: dict[str, Make] = {"certificate": partial(certificate_figure, shown)}
    if has_psnr(points := psnr_curves(shown)):
        found["psnr_over_eps"] = partial(psnr_figure, shown, points)
    if has_curves(shown.rows):
        found["truth"] = partial(truth_figure, shown)
    if len(kept := with_pictures(shown.rows)):
        found["visual"] = partial(visual_figure, kept, shown.declared)
    return found
