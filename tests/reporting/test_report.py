"""Reports from rows made by hand: the numbers in the tables are computed here once more, from the rows' definition."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from invsmooth.core.units import PAPER_LABEL
from invsmooth.records.rows import read_rows, write_rows
from invsmooth.reporting import report
from invsmooth.reporting.figures.certificate import certificate_figure, without_certificate
from invsmooth.reporting.tables import overview
from invsmooth.reporting.tables.writers import markdown
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, averages_of, read, row, stored


def averages(rows: pd.DataFrame) -> pd.DataFrame:
    return averages_of(rows).table


def text_of(rows: pd.DataFrame, *notes: str) -> str:
    return markdown(overview.overview(averages_of(rows), notes))


def short(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    return overview.short(averages_of(rows))


def test_averages_are_over_images(tmp_path: Path) -> None:
    rows = stored(
        tmp_path, row(), row(image="two", psnr_attacked=20.0, bound=4e-3), row(sigma=12.0, **NONE),
        row(image="two", sigma=12.0, **NONE),
    )  # fmt: skip
    table = averages(rows).set_index("sigma")
    assert table.loc[25.0, "psnr_attacked"] == 24.0
    assert table.loc[25.0, "bound"] == pytest.approx(3e-3)
    assert list(table["images"]) == [2, 2]
    assert dict(table["certified"]) == {12.0: 0, 25.0: 2}


def test_attacks_are_not_averaged_together(tmp_path: Path) -> None:
    base, mean = ({"attack": "pgd", "attack_target": target} for target in ("base", "mean"))
    rows = stored(tmp_path, row(**base), row(run_id="b", psnr_attacked=20.0, **mean))
    assert list(averages(rows)["psnr_attacked"]) == [28.0, 20.0]
    lines = [line for line in text_of(rows).splitlines() if line.startswith("| cs")]
    assert "| pgd | base |" in lines[0]
    assert "| pgd | mean |" in lines[1]
    assert "attack on" not in text_of(stored(tmp_path / "one", row(**base)))
    titles = [a.get_title() for a in certificate_figure(averages_of(rows)).axes if a.get_title()]
    assert [t.endswith("pgd on mean") for t in titles] == [False, True]


def test_markdown_shows_missing_certificates_as_none(tmp_path: Path) -> None:
    text = text_of(stored(tmp_path, row(), row(sigma=12.0, **NONE)))
    lines = [line for line in text.splitlines() if line.startswith("| cs")]
    assert len(lines) == 2
    assert "none | 1.00e-03 | none" in lines[0]
    assert "26.00 | 1.00e-03 | 2.00e-03" in lines[1]
    assert PAPER_LABEL not in text


def test_paper_units_are_labelled_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = stored(tmp_path, row(units="paper", sound=False))
    assert PAPER_LABEL in text_of(rows)
    figure = certificate_figure(averages_of(rows))
    assert figure._suptitle is not None
    assert PAPER_LABEL in figure._suptitle.get_text()
    report([tmp_path], tmp_path / "out")
    assert PAPER_LABEL in " ".join(capsys.readouterr().out.split())


def test_short_table_has_a_line_for_each_radius(tmp_path: Path) -> None:
    header, lines = short(stored(tmp_path, row(), row(eps=2.0, **NONE), row(eps=2.0, sigma=12.0, **NONE)))
    assert header[-2:] == ["σ = 12", "σ = 25"]
    assert [line[4] for line in lines] == ["0.1", "2"]
    assert lines[0][-2:] == ["", "27.00 (≤ 2.0e-03)"]
    assert lines[1][-2:] == ["27.00 (none)", "27.00 (none)"]


def all_certifiers(**values: Any) -> list[dict[str, Any]]:
    own = {"psnr_certified": math.nan, "discrepancy_median": math.nan, "discrepancy_certified": math.nan}
    return [
        row(truth=1.5e-3, **values), row(certifier="error", certified_psnr=25.0, **values),
        row(certifier="mean", k_index=None, **own | {"bound": 3e-4, "certified_psnr_mean": 28.5}, **values),
        row(certifier="center", abstained=True, **own | {"bound": math.nan, "psnr_median": math.nan}, **values),
        row(certifier="radius", certified_eps=0.15, bound=5e-3, **values),
    ]  # fmt: skip


def test_all_certifiers_in_the_table(tmp_path: Path) -> None:
    """mean has no rank and has a certificate; center abstained; what belongs to another certifier is a dash."""
    text = text_of(stored(tmp_path, *all_certifiers()), "Said of the confidence.")
    assert "\nSaid of the confidence.\n" in text
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    table = {cells[6]: dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]}
    names = [
        "PSNR draw of rank K",
        "truth",
        "bound",
        "certified PSNR",
        "certified PSNR of the mean",
        "certified ε",
        "certified",
    ]
    assert {certifier: [cells[n] for n in names] for certifier, cells in table.items()} == {
        "discrepancy": ["26.00", "1.50e-03", "2.00e-03", "–", "–", "–", "1"],
        "error": ["26.00", "–", "2.00e-03", "25.00", "–", "–", "1"],
        "mean": ["–", "–", "3.00e-04", "–", "28.50", "–", "1"],
        "center": ["–", "–", "none", "–", "–", "–", "0"],
        "radius": ["26.00", "–", "5.00e-03", "–", "–", "0.15", "1"],
    }


def test_all_certifiers_on_the_terminal(tmp_path: Path) -> None:
    header, lines = short(stored(tmp_path, *all_certifiers(), *all_certifiers(eps=0.2)))
    assert header[8:] == ["certifier", "σ = 25"]
    assert [line[4] for line in lines] == ["0.1", "", "", "", "", "0.2", "", "", "", ""]
    assert {line[8]: line[9] for line in lines[:5]} == {
        "discrepancy": "27.00 (≤ 2.0e-03)", "error": "27.00 (≥ 25.00 dB)", "mean": "27.00 (≥ 28.50 dB)",
        "center": "none", "radius": "27.00 (ε ≤ 0.15)",
    }  # fmt: skip


def test_all_certifiers_in_the_certificate_figure(tmp_path: Path) -> None:
    figure = certificate_figure(averages_of(stored(tmp_path, *all_certifiers(), *all_certifiers(sigma=12.0))))
    labels = [a.get_ylabel().split(":")[0] for a in figure.axes]
    assert labels[:5] == ["discrepancy", "error", "radius", "mean", "center"]
    assert len(labels) == 7  # and PSNR under the attack, and without one
    # discrepancy is taken at the attacked measurement, the others at the clean one.
    unsmoothed = [{line.get_ydata()[0] for line in a.lines} for a in figure.axes[5:]]
    assert unsmoothed == [{28.0}, {30.0}]
    assert (
        without_certificate(averages(stored(tmp_path / "one", *all_certifiers())))
        == "no certificate at\nε = 0.1: σ = 25"
    )


def test_rows_of_a_sweep_are_not_counted_twice(tmp_path: Path) -> None:
    stored(tmp_path / "0", row())
    stored(tmp_path / "1", row(run_id="b"))
    stored(tmp_path, row(), row(run_id="b"))
    for order in ([tmp_path, tmp_path / "0", tmp_path / "1"], [tmp_path / "1", tmp_path / "0", tmp_path]):
        # Each row once, from the job's folder, where its pictures are.
        assert sorted(read(order)["folder"]) == [str(tmp_path / "0"), str(tmp_path / "1")]


def test_figures_of_runs_without_pictures_and_with_nulls(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(**NONE), row(eps=0.0, sigma=12.0))
    assert without_certificate(averages(rows)) == "no certificate at\nε = 0.1: σ = 25"
    written = report([tmp_path], tmp_path / "out")
    beside = {p.name for p in written if p.parent == tmp_path / "out"}
    figures = {"certificate.png", "certificate.pdf", "psnr_over_eps.png", "psnr_over_eps.pdf"}
    assert beside == {"table.md", "index.md", "index.html"} | figures
    with Image.open(tmp_path / "out" / "certificate.png") as image:
        assert min(image.size) > 500
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


def test_rows_are_checked_and_written_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"differ in \['psnr'\]"):
        write_rows(tmp_path / "results.parquet", [row(psnr=1.0)], DECLARED)
    assert list(tmp_path.iterdir()) == []
    pd.DataFrame({"eps": [1.0]}).to_parquet(tmp_path / "results.parquet")
    with pytest.raises(ValueError, match=r"does not declare its certifiers"):
        read_rows([tmp_path])


def test_report_of_clean_measurements_alone(tmp_path: Path) -> None:
    """No attack, no pictures, no certificate at eps > 0: the whole report all the same."""
    stored(tmp_path, row(eps=0.0), row(eps=0.0, image="two"))
    written = report([tmp_path], tmp_path / "out")
    assert (tmp_path / "out" / "index.html") in written
