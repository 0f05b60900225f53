"""Figures that compare methods: what is drawn, from rows made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer

from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting.figures.comparison import comparison_figure, comparisons
from invsmooth.reporting.figures.methods import curve_figure, curve_panels, figure1, figure1_panels, pages
from invsmooth.reporting.methods import read_runs, with_methods
from invsmooth.reporting.styles import PALETTE, method_styles
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, read, row
from tests.reporting.sweep_made import write_run
from tests.reporting.test_cells import cells_of


def drawn(axes: Axes) -> list[tuple[list[float], list[float], list[float]]]:
    """x, y and half the length of the bar of each point of each curve."""
    found = []
    for bar in axes.containers:
        assert isinstance(bar, ErrorbarContainer)
        line, _, (segments,) = bar.lines
        x, y = (np.asarray(values, float) for values in line.get_data())
        ends = [s for s in segments.get_segments() if len(s)]
        lengths = [float(s[1][1] - s[0][1]) / 2 for s in ends]
        found.append((x.tolist(), y.tolist(), lengths))
    return found


def test_figure_1_draws_means_with_bars_of_half_a_standard_deviation() -> None:
    rows = [
        row(image=i, sigma=s, bound=b + k * 2e-3, psnr_certified=20.0 + 2 * k, psnr_attacked=18.0 + 4 * k)
        for k, i in enumerate(("one", "two"))
        for s, b in ((12.0, 1e-3), (25.0, 2e-3))
    ]
    rows.append(row(run_id="b", algo="adv", ratio=0.2))
    panels = figure1_panels(cells_of(*rows))
    figure = figure1(panels, {"ord", "adv"}, DECLARED)
    top, bottom = figure.axes[0], figure.axes[2]
    ((x, y, bars),) = drawn(top)
    assert (x, y) == ([12.0, 25.0], pytest.approx([2e-3, 3e-3]))
    # The images are 1e-3 from their mean: half the deviation on either side.
    assert bars == pytest.approx([0.5e-3, 0.5e-3])
    (x, y, bars), *_ = drawn(bottom)
    assert (x, y) == ([0.0, 12.0, 25.0], [20.0, 21.0, 21.0])  # at σ = 0 the attacked
    assert bars == pytest.approx([1.0, 0.5, 0.5])
    words = top.get_title().replace("\xa0", " ")
    assert "ε = 0.1" in words
    assert "not run: adv" in words
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["ord", "adv"]


def test_figure_1_shows_the_median_where_no_certificate_exists_and_joins_nothing_over_it() -> None:
    rows = [row(sigma=12.0), row(sigma=25.0, psnr_median=24.0, **NONE), row(sigma=50.0)]
    figure = figure1(figure1_panels(cells_of(*rows)), {"ord"}, DECLARED)
    certified, medians = drawn(figure.axes[1])
    assert np.isnan(certified[1]).tolist() == [False, False, True, False]
    assert medians[:2] == ([25.0], [24.0])
    assert "no certificate at σ = 25" in figure.axes[0].get_title().replace("\xa0", " ")


def test_what_is_no_certificate_is_labelled_in_figures() -> None:
    cells = cells_of(*(row(units="paper", sound=False, eps=e) for e in (0.0, 0.1)))
    for figure in (
        figure1(figure1_panels(cells), {"ord"}, DECLARED),
        curve_figure(curve_panels(cells), {"ord"}, DECLARED),
    ):
        assert PAPER_LABEL in " ".join(figure.axes[0].get_title().replace("\xa0", " ").split())


def test_attacked_and_certified_psnr_over_eps() -> None:
    rows: list[dict[str, Any]] = []
    for eps, attacked, certified in ((0.0, 30.0, 25.0), (0.1, 28.0, 20.0)):
        own = {"eps": eps, "psnr_attacked": attacked}
        rows += [row(**own), row(certifier="error", certified_psnr=certified, **own)]
    figure = curve_figure(curve_panels(cells_of(*rows)), {"ord"}, DECLARED)
    labels = [a.get_ylabel().replace("\n", " ") for a in figure.axes]
    assert labels == [
        "attacked, unsmoothed PSNR, dB", "attacked, smoothed median, PSNR, dB", "certified PSNR, dB (error)",
    ]  # fmt: skip
    assert [drawn(a)[0][1] for a in figure.axes] == [[30.0, 28.0], [27.0, 27.0], [25.0, 20.0]]
    assert curve_panels(cells_of(row())) == []


def luminance(colour: str) -> float:
    return float(np.dot(to_rgb(colour), (0.2126, 0.7152, 0.0722)))


def test_methods_are_told_apart_without_colour() -> None:
    """In grey print by marker and dashes; on white no colour is too light."""
    assert len(PALETTE) > len(DECLARED.algorithms)
    assert len({style["marker"] for style in PALETTE}) == len(PALETTE)
    assert len({str(style["linestyle"]) for style in PALETTE}) == len(PALETTE)
    assert max(luminance(style["color"]) for style in PALETTE) < 0.75
    styles = method_styles([("adv", "a"), ("adv", "b"), ("new", "c")], DECLARED)
    assert styles["a"]["fillstyle"] != styles["b"]["fillstyle"]
    known = method_styles([(name, name) for name in DECLARED.algorithms], DECLARED)
    assert styles["a"]["marker"] == known["adv"]["marker"]
    assert styles["c"]["marker"] not in {style["marker"] for style in known.values()}


def test_hundreds_of_panels_are_not_drawn() -> None:
    panels: Any = [({}, None)] * 100
    assert [len(page) for page in pages(panels, 4)] == [4, 4]
    assert [len(page) for page in pages(panels[:24], 8)] == [8, 8, 8]


@pytest.fixture
def pictured(tmp_path: Path) -> Any:
    """Two tasks, ord and smt_adv, pictures of two images; adv without any, and nothing for compressed sensing."""
    for task, algo, pictures in (
        ("denoise", "ord", 2),
        ("denoise", "smt_adv", 2),
        ("denoise", "adv", 0),
        ("cs", "ord", 1),
    ):
        name = f"{task}{algo}"
        write_run(
            tmp_path / name, algo, task, pictures=pictures, images=2, eps=(0.0, 0.2), sigmas=(12.0, 25.0), run_id=name,
            certifiers=("discrepancy",),
        )  # fmt: skip
    rows = read([p.parent for p in tmp_path.glob("*/results.parquet")])
    return with_methods(rows, read_runs(rows))


def test_figures_2_to_4_show_all_methods_under_the_strongest_attack(pictured: Any) -> None:
    found = comparisons(pictured, DECLARED)
    assert {name: [(c.setting["task"], c.setting["image"]) for c in shown] for name, shown in found.items()} == {
        "figure2": [("cs", "image 00"), ("denoise", "image 00"), ("denoise", "image 01")],
    }  # fmt: skip
    one = found["figure2"][1]
    own = pictured[(pictured["task"] == "denoise") & (pictured["image"] == "image 00") & (pictured["eps"] == 0.2)]
    own = own[own["algo"] != "adv"]
    best = own.groupby("sigma")["psnr_median"].mean().idxmax()
    assert (one.setting["eps"], one.sigma) == (0.2, best)
    figure = comparison_figure([one], {"ord", "smt_adv", "adv"}, DECLARED)
    axes = figure.subfigs[0].axes
    smoothed = own[own["sigma"] == best].set_index("algo")
    captions = [a.get_xlabel() for a in axes]
    expected = [f"{smoothed.loc[algo, 'psnr_median']:.2f} dB / 0.800" for algo in ("ord", "smt_adv")]
    assert captions[5:] == [*expected, "not run"]
    attacked = [f"{smoothed.loc[algo, 'psnr_attacked']:.2f} dB / 0.800" for algo in ("ord", "smt_adv")]
    vanilla = f"{smoothed.loc['ord', 'psnr_clean']:.2f} dB / 0.900"
    assert captions[:5] == [vanilla, *attacked, "not run", "PSNR / SSIM"]


def test_pictures_of_another_certifier_are_no_smoothed_median_of_the_attacked(tmp_path: Path) -> None:
    write_run(
        tmp_path / "a", "ord", "cs", pictures=1, images=1, eps=(0.2,), sigmas=(25.0,), certifiers=("discrepancy",)
    )
    rows = read([tmp_path / "a"]).assign(certifier="mean")
    (one,) = comparisons(with_methods(rows, read_runs(rows)), DECLARED)["figure2"]
    assert one.smoothed.empty
    assert comparison_figure([one], {"ord"}, DECLARED).subfigs[0].axes[-1].get_xlabel() == "not run"


def test_what_was_not_run_and_what_has_no_certificate_are_told_apart() -> None:
    rows = [row(eps=e, certifier=c, ratio=r) for e in (0.0, 0.1) for c, r in (("discrepancy", 0.1), ("error", 0.2))]
    rows = [r | {"certified_psnr": 20.0} if r["certifier"] == "error" else r for r in rows]
    rows += [row(eps=e, certifier="error", ratio=0.3, **NONE) for e in (0.0, 0.1)]
    axes = curve_figure(curve_panels(cells_of(*rows)), {"ord"}, DECLARED).axes
    assert [[t.get_text() for t in a.texts] for a in axes] == [[], [], [], [], ["–"], ["–"], ["–"], [], ["none"]]
