"""Report of audits: a table, and the figure of the frontier. (They have no rows of results.)"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from invsmooth.core.files import write_text
from invsmooth.records.audits import read_audits
from invsmooth.reporting.figures.frontier import frontier_figure
from invsmooth.reporting.saving import draw
from invsmooth.reporting.tables.grid import MISSING
from invsmooth.reporting.tables.writers import row

COLUMNS = {
    "estimator": "estimator", "operator": "operator", "ratio": "m/n", "sigma_b": "σ_b", "dataset": "data",
    "threat": "threat", "declared": "declared", "claim": "claimed", "found": "found", "verdict": "verdict",
    "psnr": "PSNR, dB", "psnr_worst": "worst PSNR", "frontier": "frontier there", "evaluations": "evaluations",
}  # fmt: skip
TITLE = """\
# Audits of Lipschitz constants

Found: by the search, a lower bound. Proven: the constant is computed by a proof of this program. Not refuted:
the estimator declares it, and the search found nothing larger, which proves nothing. Frontier: a lower bound for every
method with the worst PSNR on each image (or block) compared.
"""


def report_audits(folders: Sequence[Path], out: Path, damaged: dict[Path, str]) -> list[Path]:
    """Write audit.md and, if there is a frontier, frontier.png and .pdf. Files that cannot be used are noted in ``damaged``.
    Returns: the files written; none without an audit that can be used."""
    audits, frontiers = read_audits(folders, damaged)
    if audits.empty:
        return []
    out.mkdir(parents=True, exist_ok=True)
    lines = [row(line) for line in cells(audits)]
    header = [row(list(COLUMNS.values())), "|" + " --- |" * len(COLUMNS)]
    write_text(out / "audit.md", "\n".join([TITLE, *header, *lines]))
    figures = draw(partial(frontier_figure, audits, frontiers), out / "frontier") if len(frontiers) else []
    return [out / "audit.md", *figures]


def cells(audits: pd.DataFrame) -> list[list[str]]:
    return [[text(line[name]) for name in COLUMNS] for line in audits.to_dict("records")]


def text(value: object) -> str:
    if isinstance(value, float):
        return MISSING if value != value else f"{value:.4g}"
    return str(value)


def print_audits(audits: pd.DataFrame) -> None:
    """A short table, on the terminal."""
    from rich.console import Console
    from rich.table import Table as Terminal

    names = ("operator", "ratio", "sigma_b", "threat", "declared", "claim", "found", "verdict", "psnr", "evaluations")
    table = Terminal(title="Lipschitz constants (found: a lower bound)")
    for name in names:
        table.add_column(COLUMNS[name], no_wrap=True)
    for line in audits.to_dict("records"):
        table.add_row(*(text(line[name]) for name in names))
    console = Console()
    # A pipe or a log has no width of its own: 80 columns would cut the numbers.
    (console if console.is_terminal else Console(width=400)).print(table)
