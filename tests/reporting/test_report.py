"""Reports from rows made by hand: the numbers in the tables are computed here once more, from the rows' definition."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from invsmooth.reporting import report
from invsmooth.reporting.figures import certificate_figure, without_certificate
from invsmooth.reporting.tables import averages, markdown, short
from invsmooth.reporting.visual_figure import telling_rows
from invsmooth.rows import read_rows, write_rows
from invsmooth.units import PAPER_LABEL
from tests.reporting.made import NONE, row, stored


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
    lines = [line for line in markdown(rows).splitlines() if line.startswith("| cs")]
    assert "| pgd | base |" in lines[0]
    assert "| pgd | mean |" in lines[1]
    assert "attack on" not in markdown(stored(tmp_path / "one", row(**base)))
    titles = [a.get_title() for a in certificate_figure(rows).axes if a.get_title()]
    assert [t.endswith("pgd on mean") for t in titles] == [False, True]


def test_markdown_shows_missing_certificates_as_none(tmp_path: Path) -> None:
    text = markdown(stored(tmp_path, row(), row(sigma=12.0, **NONE)))
    lines = [line for line in text.splitlines() if line.startswith("| cs")]
    assert len(lines) == 2
    assert "none | 1.00e-03 | none" in lines[0]
    assert "26.00 | 1.00e-03 | 2.00e-03" in lines[1]
    assert PAPER_LABEL not in text


def test_paper_units_are_labelled_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = stored(tmp_path, row(units="paper", sound=False))
    assert PAPER_LABEL in markdown(rows)
    figure = certificate_figure(rows)
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


def test_rows_of_a_sweep_are_not_counted_twice(tmp_path: Path) -> None:
    stored(tmp_path / "0", row())
    stored(tmp_path / "1", row(run_id="b"))
    stored(tmp_path, row(), row(run_id="b"))
    for order in ([tmp_path, tmp_path / "0", tmp_path / "1"], [tmp_path / "1", tmp_path / "0", tmp_path]):
        # Each row once, from the job's folder, where its pictures are.
        assert sorted(read_rows(order)["folder"]) == [str(tmp_path / "0"), str(tmp_path / "1")]


def test_figures_of_runs_without_pictures_and_with_nulls(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(**NONE), row(eps=0.0, sigma=12.0))
    assert without_certificate(rows) == "no certificate at\nε = 0.1: σ = 25"
    written = report([tmp_path], tmp_path / "out")
    assert {p.name for p in written} == {"table.md", "certificate.png", "certificate.pdf"}
    with Image.open(tmp_path / "out" / "certificate.png") as image:
        assert min(image.size) > 500
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name.startswith(".")] == []


def test_telling_rows_are_the_strongest_attack_and_the_strongest_certificate(tmp_path: Path) -> None:
    rows = stored(
        tmp_path, row(eps=0.0), row(sigma=12.0, psnr_median=29.0, **NONE), row(), row(eps=2.0, **NONE),
        row(eps=2.0, sigma=12.0, psnr_median=22.0, **NONE), row(image="two", eps=9.0),
    )  # fmt: skip
    assert [(r["eps"], r["sigma"]) for r in telling_rows(rows)] == [(2.0, 25.0), (0.1, 25.0)]


def test_rows_are_checked_and_written_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"differ in \['psnr'\]"):
        write_rows(tmp_path / "results.parquet", [row(psnr=1.0)])
    assert list(tmp_path.iterdir()) == []
    pd.DataFrame({"eps": [1.0]}).to_parquet(tmp_path / "results.parquet")
    with pytest.raises(ValueError, match=r"lacks the columns abstained, algo"):
        read_rows([tmp_path])
