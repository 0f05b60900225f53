"""All tables and figures that compare methods, and an index of what is written and missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from invsmooth.core.files import write_text
from invsmooth.reporting.averages import Averages
from invsmooth.reporting.columns import PAPER
from invsmooth.reporting.figures import methods as curves
from invsmooth.reporting.figures.comparison import comparison_figure, comparisons
from invsmooth.reporting.methods import in_order
from invsmooth.reporting.runs import Run
from invsmooth.reporting.saving import Make, Saver
from invsmooth.reporting.tables.costs import compute_table, evaluation_table, seconds_table, trainings
from invsmooth.reporting.tables.grid import Table
from invsmooth.reporting.tables.paper import certified_psnr_table, median_table, samples_table, tradeoff_table
from invsmooth.reporting.tables.significance import significance_table
from invsmooth.reporting.tables.writers import latex, markdown, numbers

FIGURES = {
    "figure1": "Figure 1: certified discrepancy, and PSNR of the draw of rank K, over σ, a curve for each method (bars: "
    "half a standard deviation over the images; hollow points: the smoothed median where no certificate exists; σ = 0: "
    "attacked, unsmoothed)",
    "psnr": "Attacked and certified PSNR over ε, a curve for each method (bars: half a standard deviation over the images)",
    "figure2": "Figure 2: visual comparison, PSNR / SSIM below each picture",
    "figure3": "Figure 3: more of denoising", "figure4": "Figure 4: more of the other tasks",
}  # fmt: skip
WHY = {"figure1": f"have no certifier {PAPER}", "psnr": "have a single ε", "figure2": "kept no pictures",
       "figure3": "kept no more pictures of denoising", "figure4": "kept no more pictures of other tasks"}  # fmt: skip
"""Why a figure is not written."""
TABLES = ("table1", "table2", "table3", "table4", "certified_psnr", "significance", "compute", "evaluation")


def write_artefacts(
    averages: Averages, runs: Mapping[str, Run], notes: Sequence[str], out: Path, saver: Saver | None = None
) -> list[Path]:
    """Write tables/NAME.md, .tex, .csv (if they have numbers), figures/NAME.png, .pdf and index.md.

    ``averages``: of rows with methods (:func:`.methods.with_methods`). ``notes``: for index.md. ``saver``: of the figures.
    Returns: the files written, index.md last."""
    # The files of an earlier report in this folder.
    stale = [out / "tables" / f"{name}.{kind}" for name in (*TABLES, "runs") for kind in ("md", "tex", "csv")]
    pictures = [pattern for name in FIGURES for pattern in (f"{name}.p[nd][gf]", f"{name}_[0-9]*.p[nd][gf]")]
    for path in (*stale, *(path for pattern in pictures for path in (out / "figures").glob(pattern))):
        path.unlink(missing_ok=True)
    # The figures first: the saver's processes draw them while this one writes the tables.
    written_figures, figure_lines, no_figures = write_figures(averages, out, saver or Saver())
    written_tables, table_lines, no_tables = write_tables(averages, runs, out)
    said = [line for note in notes for line in (note, "")]
    lines = ["# Results of the runs", "", *said, "## Tables", "", *table_lines, "", "## Figures", "", *figure_lines]
    lines += ["", "## Not written", "", *no_tables, *no_figures] if no_tables or no_figures else []
    write_text(out / "index.md", "\n".join(lines))
    return [*written_tables, *written_figures, out / "index.md"]


Written = tuple[list[Path], list[str], list[str]]  # files, lines of the index about them, and what was not written


def write_tables(averages: Averages, runs: Mapping[str, Run], out: Path) -> Written:
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    written, lines, absent = [], [], []
    for table in tables(averages, runs):
        if table.has_numbers():
            texts = {"md": markdown(table), "tex": latex(table), "csv": numbers(table).to_csv(index=False)}
            for kind, text in texts.items():
                write_text(folder / f"{table.name}.{kind}", text.rstrip("\n"))
            written += [folder / f"{table.name}.{kind}" for kind in texts]
            files = ", ".join(f"[{kind}](tables/{table.name}.{kind})" for kind in texts)
            lines.append(f"- {table.title}: {files}")
        else:
            absent.append(f"- {table.title}: no run has its numbers")
    write_text(folder / "runs.csv", run_list(averages, runs).to_csv(index=False).rstrip("\n"))
    lines.append("- The runs, and their training settings: [csv](tables/runs.csv)")
    return [*written, folder / "runs.csv"], lines, absent


def tables(averages: Averages, runs: Mapping[str, Run]) -> Iterator[Table]:
    """All tables, also those without numbers."""
    trained, anywhere = trainings(averages.rows, runs), set(averages.table["algo"])
    yield tradeoff_table(averages)
    yield median_table(averages)
    yield seconds_table(trained, anywhere, averages.declared)
    yield samples_table(averages)
    yield certified_psnr_table(averages)
    yield significance_table(averages)
    yield compute_table(trained, anywhere, averages.declared)
    yield evaluation_table(averages)


def write_figures(averages: Averages, out: Path, saver: Saver) -> Written:
    (out / "figures").mkdir(exist_ok=True)
    written: list[Path] = []
    links: dict[str, list[str]] = {}
    for name, make in figures(averages):
        written += saver.save(make, out / "figures" / name)
        kind, _, page = name.partition("_")
        link = f"[png](figures/{name}.png), [pdf](figures/{name}.pdf)"
        links.setdefault(kind, []).append(f"page {page}: {link}" if page else link)
    lines = [f"- {FIGURES[kind]}: {'; '.join(found)}" for kind, found in links.items()]
    counts = {"figure1": len(curves.figure1_panels(averages)), "psnr": len(curves.curve_panels(averages))}
    more = {name: count for name, count in counts.items() if count > curves.MAX_PANELS}
    of, else_ = f"shows the first {curves.FIRST} of", "narrow runs= to see others. The tables have all"
    lines += [f"- {name} {of} {count} settings; {else_}" for name, count in more.items()]
    absent = [f"- {FIGURES[name]}: the runs {why}" for name, why in WHY.items() if name not in links]
    return written, lines, absent


def figures(averages: Averages) -> Iterator[tuple[str, Make]]:
    """Each with the name of its files, and not yet drawn; later pages are NAME_2 and so on."""
    declared, anywhere = averages.declared, set(averages.table["algo"])
    drawn = {"figure1": (curves.figure1_panels, curves.figure1), "psnr": (curves.curve_panels, curves.curve_figure)}
    for name, (panels, draw) in drawn.items():
        for number, page in enumerate(curves.pages(panels(averages), curves.PER_PAGE[name]), 1):
            yield name if number == 1 else f"{name}_{number}", partial(draw, page, anywhere, declared)
    for name, shown in comparisons(averages.rows, declared).items():
        yield name, partial(comparison_figure, shown, anywhere, declared)


def run_list(averages: Averages, runs: Mapping[str, Run]) -> pd.DataFrame:
    """One line for each run: its names, and the training costs that are on record."""
    rows = averages.rows
    columns = ["folder", "run_id", "task", "dataset", "algo", "method", "sigma_tr", "protocol", "seed",
               "estimator_sha256"]  # fmt: skip
    lines = rows[columns].drop_duplicates(["folder", "task", "dataset", "algo", "method"])
    order, place = in_order(rows, averages.declared), ["task", "dataset", "method", "folder"]
    lines = lines.sort_values(place, key=lambda c: c.map(order.index) if c.name == "method" else c)
    counts = rows.groupby("folder").agg(rows=("image", "size"), images=("image", "nunique"))
    found = lines.merge(counts, on="folder")
    trained = [runs[folder].training is not None for folder in found["folder"]]
    names = {"seconds": "seconds_per_batch", "evals": "network_evals_per_image", "memory": "peak_memory_mb"}
    costs = {name: [getattr(runs[folder], of) for folder in found["folder"]] for of, name in names.items()}
    return found.assign(settings_on_record=trained, **costs)
