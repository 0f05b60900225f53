"""The PSNR of the draw of rank K is that of a picture: nothing that shows it calls it certified, sound or a certificate."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from invsmooth.loggers.charts import charts
from invsmooth.loggers.evaluation import summary
from invsmooth.loggers.gallery import galleries
from invsmooth.reporting import report
from invsmooth.reporting.columns import BASE
from invsmooth.reporting.figures.methods import figure1, figure1_panels
from invsmooth.reporting.figures.visual import visual_figure
from invsmooth.reporting.methods import read_runs, with_methods
from invsmooth.reporting.page.data import page_data
from invsmooth.reporting.page.html import ASSETS
from invsmooth.reporting.saved_pictures import with_pictures
from invsmooth.reporting.tables.overview import overview
from invsmooth.reporting.tables.writers import markdown
from tests.reporting.declared import DECLARED
from tests.reporting.made import averages_of, keep_pictures, row, stored
from tests.reporting.test_cells import cells_of

WRONG = re.compile("certif|sound", re.IGNORECASE)
PSNR = 26.66
"""Of the draw of rank K, and of nothing else."""


@pytest.fixture
def rows(tmp_path: Path) -> pd.DataFrame:
    values = [{"eps": e, "sigma": s, "algo": a} for e in (0.1, 0.2) for s in (12.0, 25.0) for a in ("ord", "adv")]
    found = stored(tmp_path, *(row(psnr_certified=PSNR, seconds=0.5, attack="pgd", **v) for v in values))
    keep_pictures(tmp_path, 0.1, 25.0)
    return found


def test_tables(rows: pd.DataFrame, tmp_path: Path) -> None:
    """No block's title, heading or header of a column of such numbers; nor is a number said to be sound."""
    report([tmp_path], tmp_path / "report")
    seen = 0
    for path in (tmp_path / "report" / "tables").glob("*.csv"):
        table = pd.read_csv(path)
        if "sound" not in table:
            continue
        own = table[table["quantity"] == "psnr_certified"]
        seen += len(own)
        assert own["sound"].isna().all()
        assert not own["column"].str.contains(WRONG).any(), path
        assert table.loc[table["quantity"] == "bound", "sound"].eq(True).all()
    assert seen
    for name in ("table1", "table2", "table4"):
        text = (tmp_path / "report" / "tables" / f"{name}.md").read_text(encoding="utf-8")
        assert "It is the PSNR of a picture and bounds nothing." in text
    assert "PSNR draw of rank K" in markdown(overview(averages_of(rows)))
    assert not any(WRONG.search(c.heading) for c in BASE if c.name == "psnr_certified")


def test_figures(rows: pd.DataFrame, tmp_path: Path) -> None:
    cells = cells_of(*(row(sigma=s, psnr_certified=PSNR) for s in (12.0, 25.0)))
    top, bottom, *_ = figure1(figure1_panels(cells), {"ord"}, DECLARED).axes
    assert bottom.get_ylabel() == "PSNR of the draw\nof rank K, dB"
    assert top.get_ylabel() == "certified discrepancy, MSE"
    assert (
        top.get_title().endswith("certified\ndiscrepancy: sound") or "certified discrepancy: sound" in top.get_title()
    )
    figure = visual_figure(with_pictures(with_methods(rows, read_runs(rows))), DECLARED)
    shown = [place for place in figure.axes if f"{PSNR}" in place.get_xlabel()]
    assert [place.get_title() for place in shown] == ["draw of rank K\nof y(x+ξ)"]


def test_page(rows: pd.DataFrame) -> None:
    """The names of columns and pictures on the page."""
    labels = page_data(rows, averages_of(rows), [], [])["labels"]
    for name in ("psnr_certified", "ssim_certified"):
        assert not any(WRONG.search(text) for text in labels[name])
    name = re.search("certified: `(.*?)`", (ASSETS / "gallery.js").read_text(encoding="utf-8"))
    assert name is not None
    assert not WRONG.search(name[1])


def test_loggers(rows: pd.DataFrame) -> None:
    """Names of numbers, curves and pictures."""
    own = [name for name, value in summary(rows, DECLARED).items() if value == pytest.approx(PSNR)]
    assert len(own) == 4
    assert all("/psnr_rank_k/" in name and not WRONG.search(name) for name in own)
    for chart in charts(rows, DECLARED):
        for line in chart.lines:
            assert not (WRONG.search(line.label) and line.ys[0] == pytest.approx(PSNR))
    (pictures,) = galleries(rows, DECLARED).values()
    shown = [p for p in pictures if f"{PSNR}" in p.caption]
    assert [p.kind for p in shown] == ["rank_k"]
    assert not WRONG.search(shown[0].caption)
