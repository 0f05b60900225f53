"""Rows without sigma: in every panel of a sigma, once in tables, averaged with no other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from invsmooth.loggers.charts import charts
from invsmooth.loggers.evaluation import summary
from invsmooth.reporting import artefacts, report
from invsmooth.reporting.averages import Averages, in_panels
from invsmooth.reporting.curves import PANEL_SIGMA, curve_points
from invsmooth.reporting.figures.certificate import certificate_figure
from invsmooth.reporting.figures.methods import curve_panels
from invsmooth.reporting.figures.truth import truth_figure
from invsmooth.reporting.notes import confidence_notes
from invsmooth.reporting.tables.costs import evaluation_table
from invsmooth.reporting.tables.grid import Block, Entry
from invsmooth.reporting.tables.overview import overview, short
from invsmooth.reporting.tables.paper import certified_psnr_table, tradeoff_table
from invsmooth.reporting.tables.significance import significance_table
from invsmooth.reporting.tables.writers import text_of
from tests.reporting.lipschitz_rows import (
    DECLARED,
    averages,
    best,
    mixed,
    only_plain,
    plain,
    read,
    smoothed,
    write,
)
from tests.reporting.test_html_page import embedded, frame


def texts(block: Block) -> list[list[str]]:
    return [[text_of(cell) for cell in line] for line in block.lines]


def test_they_are_averaged_with_no_other_rows(tmp_path: Path) -> None:
    table = averages(tmp_path, mixed()).table
    own = table[(table["certifier"] == "lipschitz") & (table["eps"] == 1)]
    # 28 and 30 dB of the two images, once; no value of a sigma.
    assert own[["certified_psnr_lipschitz", "images", "rows"]].to_numpy().tolist() == [[29.0, 2, 2]]
    assert own["sigma"].isna().all()
    assert own["n_samples"].isna().all()
    assert sorted(table.loc[table["certifier"] == "error", "sigma"].unique()) == [12.0, 25.0]
    # A number of draws in the row is none that was set.
    again = averages(tmp_path / "again", [plain(1.0, 28.0, n_samples=0), plain(5.0, 20.0, n_samples=0)]).table
    assert again["n_samples"].isna().all()


def test_attacks_on_the_signal_and_on_the_measurement_are_kept_apart(tmp_path: Path) -> None:
    rows = [plain(1.0, 28.0), plain(1.0, 20.0, run_id="b", threat="measurement")]
    table = averages(tmp_path, rows).table
    assert list(table["certified_psnr_lipschitz"]) == [28.0, 20.0]
    assert list(table["label"]) == ["ord", "ord, threat = measurement"]


def test_each_panel_of_a_sigma_has_the_curve(tmp_path: Path) -> None:
    found = averages(tmp_path, mixed(), only_plain())
    points = curve_points(found, in_panels(found.table, PANEL_SIGMA))
    own = points[(points["curve"] == "lipschitz") & (points["measure"] == "psnr") & (points["label"] == "ord")]
    assert {s: list(c["value"]) for s, c in own.groupby("sigma")} == {s: [31.0, 30.5, 29.0, 25.0] for s in (12.0, 25.0)}
    assert own["sigma"].notna().all()
    # A network that was never smoothed has one panel.
    adv = points[points["label"] == "adv"]
    assert adv["sigma"].isna().all()
    adv = adv[(adv["curve"] == "lipschitz") & (adv["measure"] == "psnr")]
    assert list(adv["value"]) == [30.0, 28.5, 19.0]
    titles = [axes.get_title().split("\n")[-1] for axes in truth_figure(found).axes if axes.get_title()]
    assert titles == ["m/n = 1, σ_b = 15", *(f"m/n = 1, σ_b = 15, σ = {s}" for s in (12, 25))]


def test_panels_that_compare_methods_have_it_of_all_methods(tmp_path: Path) -> None:
    panels = curve_panels(averages(tmp_path, mixed(), only_plain()))
    assert [setting["sigma"] for setting, _ in panels] == [12.0, 25.0]
    for _, cells in panels:
        own = cells[cells["certifier"] == "lipschitz"]
        assert dict(own.groupby("method").size()) == {"adv": 3, "ord": 4}
    ((setting, cells),) = curve_panels(averages(tmp_path / "only", only_plain()))
    assert math.isnan(setting["sigma"])
    assert set(cells["certifier"]) == {"lipschitz", "best"}


def test_another_panels_attack_is_not_theirs(tmp_path: Path) -> None:
    """The certificate holds for any attack; what the attack found does not go with it."""
    rows = [smoothed(1.0, 25.0, None, attack="apgd", run_id="b"), plain(1.0, 28.0), plain(5.0, 20.0)]
    cells = in_panels(averages(tmp_path, rows).table, PANEL_SIGMA)
    own = cells[cells["certifier"] == "lipschitz"]
    assert set(own["attack"]) == {"apgd"}
    assert own["psnr_attacked"].isna().all()
    assert list(own["certified_psnr_lipschitz"]) == [28.0, 20.0]


def test_blocks_with_eps_keep_the_eps(tmp_path: Path) -> None:
    found = averages(tmp_path, mixed())
    cells = in_panels(found.table, ["task", "n_samples", "eps"])
    own = cells[cells["certifier"] == "lipschitz"]
    assert dict(zip(own["eps"], own["certified_psnr_lipschitz"], strict=True)) == {
        0.0: 31.0,
        0.1: 30.5,
        1.0: 29.0,
        5.0: 25.0,
    }
    assert set(own["n_samples"]) == {50.0}


def test_table_md_has_one_line_and_the_floor(tmp_path: Path) -> None:
    rows = mixed()
    (block,) = overview(averages(tmp_path, rows)).blocks
    assert "PSNR floor" not in block.header
    lines = [dict(zip(block.header, line, strict=True)) for line in texts(block)]
    own = [line for line in lines if line["certifier"] == "lipschitz"]
    assert [(line["ε"], line["σ"], line["certified PSNR without smoothing"]) for line in own] == [
        ("0", "–", "31.00"), ("0.1", "–", "30.50"), ("1", "–", "29.00"), ("5", "–", "25.00"),
    ]  # fmt: skip
    # With the columns of a floor without the clean image.
    floors = Averages(read(tmp_path / "0").assign(psnr_floor=24.5, floor_confidence=0.9), DECLARED)
    (block,) = overview(floors).blocks
    line = dict(zip(block.header, texts(block)[0], strict=True))
    assert (line["PSNR floor"], line["floor confidence"]) == ("24.50", "0.9")


def test_the_short_table_has_a_certified_psnr_at_every_eps(tmp_path: Path) -> None:
    header, lines = short(averages(tmp_path, mixed()))
    assert header[-3:] == ["σ = 12", "σ = 25", "σ = –"]
    cells = {line[8]: line[9:] for line in lines[-3:]}  # at eps = 5
    assert cells == {
        "error": ["27.00 (none)", "27.00 (none)", ""], "lipschitz": ["", "", "31.00 (≥ 25.00 dB)"],
        "best": ["27.00 (≥ 25.00 dB)"] * 2 + [""],
    }  # fmt: skip
    # Without a picture of its own.
    assert short(averages(tmp_path / "b", [plain(3.0, 26.0, psnr_median=math.nan)]))[1][0][-1] == "≥ 26.00 dB"


def test_certified_psnr_has_a_block_for_them_with_all_methods(tmp_path: Path) -> None:
    blocks = certified_psnr_table(averages(tmp_path, mixed(), only_plain())).blocks
    own = [block for block in blocks if block.title.startswith("lipschitz")]
    at_1 = next(block for block in own if any("ε = 1," in span for span, _ in block.spans))
    place = [name for name, width in at_1.spans for _ in range(width)].index("ε = 1, σ = –")
    assert {line[0]: line[place : place + 2] for line in texts(at_1)} == {
        "ord": ["26.00", "29.00"],
        "adv": ["27.00", "28.50"],
    }
    every = [
        cell.source for block in own for line in block.lines for cell in line if isinstance(cell, Entry) and cell.source
    ]
    assert all(source["images"] == 2 and pd.isna(source["sigma"]) for source in every)


def test_table_1_is_about_smoothing(tmp_path: Path) -> None:
    assert tradeoff_table(averages(tmp_path, only_plain())).blocks == []


def test_differences_are_compared_once(tmp_path: Path) -> None:
    images = [f"image {k}" for k in range(6)]
    runs = [mixed(images=images), mixed("smt_grad", images, psnr_noise=1.0), only_plain(images=images)]
    blocks = significance_table(averages(tmp_path, *runs)).blocks
    at_1 = [block for block in blocks if "ε = 1" in block.title]
    entries = [dict(cell.source) | {"pair": line[0]} for b in at_1 for line in b.lines for cell in line
               if isinstance(cell, Entry) and cell.source]  # fmt: skip
    attacked = [e for e in entries if e["quantity"] == "psnr_attacked"]
    # Also of the network that was never smoothed; each pair once.
    assert sorted(e["pair"] for e in attacked) == ["adv − ord", "smt_grad − adv", "smt_grad − ord"]
    assert {e["pair"]: round(e["value"], 6) for e in attacked}["adv − ord"] == 1.0
    own = {e["pair"]: round(e["value"], 6) for e in entries if e["quantity"] == "certified_psnr_lipschitz"}
    assert own == {"adv − ord": -0.5, "smt_grad − adv": 0.5, "smt_grad − ord": 0.0}


def test_costs_are_one_evaluation_and_no_draws(tmp_path: Path) -> None:
    (block,) = evaluation_table(averages(tmp_path, mixed())).blocks
    own = {line[1]: line[2:5] for line in texts(block)}
    assert own["lipschitz"] == ["–", "1", "0.5"]
    assert own["error"][:2] == ["50", "52"]


def levels(axes: Axes) -> list[float]:
    """Of horizontal lines across the plot."""
    return [float(line.get_ydata()[0]) for line in axes.lines if list(line.get_xdata()) == [0, 1]]  # type: ignore[index, arg-type]


def test_over_sigma_they_are_horizontal_lines(tmp_path: Path) -> None:
    figure = certificate_figure(averages(tmp_path, mixed()))
    axes = next(a for a in figure.axes if a.get_ylabel().startswith("lipschitz"))
    assert levels(axes) == pytest.approx([(e / 256) ** 2 for e in (0.1, 1, 5)])  # 0 has no logarithm
    error = next(a for a in figure.axes if a.get_ylabel().startswith("error"))
    assert levels(error) == []
    assert certificate_figure(averages(tmp_path / "only", only_plain())).axes[-1].get_xlabel() == "without smoothing"


def test_a_place_without_values_is_white(tmp_path: Path) -> None:
    """A network without smoothing beside one that has nothing else: each column fills its own lines."""
    found = averages(tmp_path, [row for row in mixed() if row["certifier"] == "error"], only_plain())
    places = certificate_figure(found).axes
    framed = {place: place.spines["left"].get_visible() for place in places}
    assert framed == {place: place.has_data() for place in places}
    assert set(framed.values()) == {True, False}


def test_they_depend_on_no_draws(tmp_path: Path) -> None:
    found = averages(tmp_path, [plain(e, 28.0, image=i) for e in (0.1, 1.0) for i in "ab"])
    assert (
        confidence_notes(found.rows, DECLARED)[0]
        == "The certificates do not depend on draws: all of them hold together."
    )
    several = averages(tmp_path / "b", [best(1.0, s, 25.0, "error") for s in (None, 12.0, 25.0)])
    assert "over 2 σ" in confidence_notes(several.rows, DECLARED)[0]


@pytest.mark.parametrize("runs", [(mixed(), only_plain()), (only_plain(),)], ids=["mixed", "only"])
def test_the_whole_report(tmp_path: Path, runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "figures", lambda *_: iter(()))  # they take long; their panels are above
    folders = [write(tmp_path / str(k), rows) for k, rows in enumerate(runs)]
    written = {path.name for path in report(folders, tmp_path / "out")}
    assert {"psnr_over_eps.png", "psnr_over_eps.pdf", "truth.png", "certificate.png", "certified_psnr.md"} <= written
    assert "nan" not in (tmp_path / "out" / "table.md").read_text()
    page = tmp_path / "out" / "index.html"
    assert None in list(frame(page)["sigma"].astype(object).where(frame(page)["sigma"].notna(), None))
    assert "nan" not in json.dumps(embedded(page, "rows")["overview"]).lower()


def test_loggers_take_them_without_a_sigma(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "a", mixed()))
    found = summary(rows, DECLARED)
    assert found["eval/ratio1_b15/certified_psnr_lipschitz/lipschitz/eps5"] == 25.0
    assert not any("nan" in name for name in found)
    drawn = {chart.name.rsplit("/", 1)[1]: chart for chart in charts(rows, DECLARED)}
    over_eps = {line.label: line for line in drawn["psnr_over_eps"].lines}
    assert (over_eps["certified lipschitz"].xs, over_eps["certified lipschitz"].ys) == (
        [0, 0.1, 1, 5],
        [31.0, 30.5, 29.0, 25.0],
    )
    assert not any("nan" in line.label for chart in drawn.values() for line in chart.lines)
    assert all(np.isfinite(line.xs).all() for chart in drawn.values() for line in chart.lines)
    only = charts(read(write(tmp_path / "b", only_plain())), DECLARED)
    assert {chart.name.rsplit("/", 1)[1] for chart in only} == {"psnr_over_eps", "mse_over_eps"}
