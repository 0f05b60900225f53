"""``table=robustness`` of :mod:`invsmooth.report`: the table of networks, from the rows of their evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from invsmooth.core.files import write_text
from invsmooth.records.rows import read_rows
from invsmooth.reporting.methods import read_runs
from invsmooth.reporting.tables.robustness import NAME, robustness_table
from invsmooth.reporting.tables.writers import latex, markdown, numbers


def write_robustness(folders: Sequence[Path], out: Path, eps: float, cards: Path | None = None) -> list[Path]:
    """Write robustness.md, .tex and .csv to ``out``/tables. Returns: the files.
    Raises: ConfigError: see :func:`invsmooth.reporting.tables.robustness.robustness_table`."""
    rows, declared = read_rows(folders)
    runs = read_runs(rows)
    plain, linked = (robustness_table(rows, declared, runs, eps, cards, linked) for linked in (False, True))
    texts = {"md": markdown(linked), "tex": latex(plain), "csv": numbers(plain).to_csv(index=False)}
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for kind, text in texts.items():
        write_text(folder / f"{NAME}.{kind}", text.rstrip("\n"))
    return [folder / f"{NAME}.{kind}" for kind in texts]
