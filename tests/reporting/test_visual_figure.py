"""The figure of the stages of one image, from pictures and rows made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting.figures.visual import caption, telling_rows, visual_figure
from invsmooth.reporting.notes import SIGMA_PICKED
from invsmooth.reporting.saved_pictures import with_pictures
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, keep_pictures, row, stored

LABEL = f"interval of the 0.5-quantile of each pixel; confidence 0.99: each pixel on its own; {PAPER_LABEL}"


def intervals(width: float) -> dict[str, np.ndarray]:
    lower = np.linspace(-0.1, 0.5, 64, dtype=np.float32).reshape(8, 8)
    return {
        "lower": lower,
        "upper": lower + np.float32(width),
        "pixel_intervals": np.array("pointwise"),
        "label": np.array(LABEL),
    }


def test_telling_rows_are_the_strongest_certificate_then_the_strongest_attack(tmp_path: Path) -> None:
    rows = stored(
        tmp_path, row(eps=0.0), row(sigma=12.0, psnr_median=29.0, **NONE), row(), row(eps=2.0, **NONE),
        row(eps=2.0, sigma=12.0, psnr_median=22.0, **NONE), row(image="two", eps=9.0),
    )  # fmt: skip
    assert [(r["eps"], r["sigma"]) for r in telling_rows(rows)] == [(0.1, 25.0), (2.0, 25.0)]


def test_width_of_the_intervals_where_there_are_any_with_the_label_of_the_arrays(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(), row(eps=2.0, **NONE))
    keep_pictures(tmp_path, 0.1, 25.0, **intervals(0.25))
    keep_pictures(tmp_path, 2.0, 25.0, **intervals(math.nan))
    figure = visual_figure(with_pictures(rows), DECLARED)
    with_, without = figure.axes[6], figure.axes[13]  # the last of either line
    assert [t.get_text() for t in without.texts] == ["none"]
    assert " ".join(without.get_xlabel().split()) == f"no interval {LABEL}"
    np.testing.assert_allclose(with_.images[0].get_array(), 0.25, rtol=1e-5)
    assert " ".join(with_.get_xlabel().split()) == f"median 0.250, pixels in [0, 1] {LABEL}"
    colour_bar = figure.axes[-1]
    assert colour_bar.get_ylim() == pytest.approx((0, 0.25))


def test_no_column_for_intervals_that_were_not_asked_for(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(units="paper", sound=False))
    assert with_pictures(rows).empty
    keep_pictures(tmp_path, 0.1, 25.0)
    figure = visual_figure(with_pictures(rows), DECLARED)
    assert len(figure.axes) == 6
    assert PAPER_LABEL in figure.axes[0].get_ylabel()


def test_pictures_are_those_of_the_first_certifier(tmp_path: Path) -> None:
    """Of mean: the image shown, at the clean measurement, and by how much it can move. No rank is not no certificate."""
    mean = row(certifier="mean", k_index=None, bound=5e-4, psnr_certified=math.nan)
    rows = stored(tmp_path, mean, row())
    keep_pictures(tmp_path, 0.1, 25.0)
    figure = visual_figure(with_pictures(rows), DECLARED)
    assert [a.get_title() for a in figure.axes][-2:] == [
        "smoothed mean\nof y(x)",
        "the same, and by how\nmuch it can move",
    ]
    assert figure.axes[-1].get_xlabel() == "moves ≤ 5.0e-04 (MSE)"
    assert caption(rows.iloc[1], "certified", DECLARED.certifiers["discrepancy"]) == "26.00 dB, 0.600"


def test_the_figure_says_that_sigma_was_picked(tmp_path: Path) -> None:
    rows = stored(tmp_path, row(), row(sigma=12.0))
    keep_pictures(tmp_path, 0.1, 25.0)
    keep_pictures(tmp_path, 0.1, 12.0)
    figure = visual_figure(with_pictures(rows), DECLARED)
    assert figure._supxlabel is not None
    assert " ".join(figure._supxlabel.get_text().split()) == SIGMA_PICKED
