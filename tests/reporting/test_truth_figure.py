"""The curves of the figure "attack, truth, certificate", from rows made by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting import report
from invsmooth.reporting.curves import curve_points
from invsmooth.reporting.figures.truth import has_curves, truth_figure, without_certificate
from tests.reporting.made import NONE, averages_of, row, stored

ERROR: dict[str, Any] = {"certifier": "error", "bound": 1e-2, "certified_psnr": 20.0}
MEAN: dict[str, Any] = {
    "certifier": "mean", "bound": 1e-4, "k_index": None, "certified_psnr_mean": 24.0, "psnr_certified": math.nan,
}  # fmt: skip


def point(points: pd.DataFrame, kind: str, curve: str, measure: str, eps: float = 0.1) -> pd.Series:
    chosen = {"kind": kind, "curve": curve, "measure": measure, "eps": eps}
    found = points[(points[list(chosen)] == pd.Series(chosen)).all(axis=1)]
    assert len(found) == 1
    return found.iloc[0]


def test_points_are_means_over_images_in_the_measure_of_each_certifier(tmp_path: Path) -> None:
    points = curve_points(
        averages_of(stored(
            tmp_path,
            row(truth=1e-3, truth_lower=5e-4, truth_upper=2e-3, psnr_noise=29.5),
            row(image="two", bound=4e-3, truth=2e-3, truth_lower=1e-3, truth_upper=3e-3, psnr_noise=28.5),
            row(**ERROR, truth=1e-3, truth_lower=1e-4, truth_upper=1e-2, psnr_noise=29.5),
            row(**ERROR | {"certified_psnr": 22.0}, image="two", truth=1e-4, truth_lower=1e-5, truth_upper=1e-3,
                psnr_noise=28.5),
            row(**MEAN, psnr_noise=29.5), row(**MEAN, image="two", psnr_noise=28.5),
        ))
    )  # fmt: skip
    # The mean of MSE, 2e-3 and 4e-3; of its truth; of dB, 20 and 22.
    assert point(points, "certified", "discrepancy", "mse")["value"] == pytest.approx(3e-3)
    truth = point(points, "truth", "discrepancy", "mse")
    assert truth[["value", "lower", "upper"]].tolist() == pytest.approx([1.5e-3, 7.5e-4, 2.5e-3])
    assert point(points, "certified", "error", "psnr")["value"] == 21.0
    # 1e-3 and 1e-4 are 30 and 40 dB; the upper limits of the MSE, 1e-2 and 1e-3, are the lower ones in dB.
    truth = point(points, "truth", "error", "psnr")
    assert truth[["value", "lower", "upper"]].tolist() == pytest.approx([35.0, 25.0, 45.0])
    # mean has a curve in both measures, and its bound is no PSNR.
    assert point(points, "certified", "mean", "mse")["value"] == pytest.approx(1e-4)
    assert point(points, "certified", "mean", "psnr")["value"] == 24.0
    # Once for each image, not once for each certifier.
    assert [point(points, "unsmoothed", c, "psnr")["value"] for c in ("clean", "attacked", "noise")] == [30, 28, 29]
    assert "error" not in set(points.loc[points["measure"] == "mse", "curve"])


def test_a_curve_has_a_point_only_where_every_image_has_a_value(tmp_path: Path) -> None:
    rows = stored(
        tmp_path, row(), row(image="two"), row(eps=0.2), row(eps=0.2, image="two", **NONE),
        row(eps=0.2, truth=1e-3, truth_lower=-math.inf, truth_upper=math.inf, **ERROR),
        row(eps=0.2, image="two", truth=1e-5, truth_lower=0.0, truth_upper=math.inf, **MEAN | {"bound": 0.0}),
    )  # fmt: skip
    points = curve_points(averages_of(rows))
    assert math.isnan(point(points, "certified", "discrepancy", "mse", 0.2)["value"])
    assert without_certificate(points) == "not certified for every image:\ndiscrepancy: ε = 0.2"
    # The draws gave no limits: the truth has a value all the same.
    truth = point(points, "truth", "error", "psnr", 0.2)
    assert truth["value"] == pytest.approx(30.0)
    assert math.isnan(truth["lower"])
    assert math.isnan(truth["upper"])
    assert point(points, "truth", "mean", "mse", 0.2)[["lower", "upper"]].isna().all()
    truth_figure(averages_of(rows)).draw_without_rendering()


def test_settings_and_sigmas_are_panels_of_their_own(tmp_path: Path) -> None:
    rows = stored(
        tmp_path, *(row(eps=e, sigma=s, ratio=r) for e in (0.0, 0.1, 0.2) for s in (12.0, 25.0) for r in (0.1, 0.3))
    )
    figure = truth_figure(averages_of(rows))
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert [t.splitlines()[-1] for t in titles] == [
        f"m/n = {r}, σ_b = 0, σ = {s}" for r in (0.1, 0.3) for s in (12, 25)
    ]
    # ε/σ, on an axis of its own: ε = 0.2 is 2 × 1.02 × what the row says of ε = 0.1.
    ratio = figure.axes[0].child_axes[0]
    assert ratio.get_xlabel() == "ε/σ"
    assert figure._suptitle is not None
    assert "0.99" in figure._suptitle.get_text()


def test_center_and_radius_are_in_the_panel(tmp_path: Path) -> None:
    """center as a curve, radius, which is a number for each image, in the title."""
    center = {"certifier": "center", "bound": 4e-3, "truth": 1e-3}
    radius = {"certifier": "radius", "bound": 1e-2}
    rows = stored(
        tmp_path, *(row(eps=e, **center) for e in (0.1, 0.2)),
        *(row(eps=e, image=i, certified_eps=c, **radius) for e in (0.1, 0.2) for i, c in (("one", 0.12), ("two", 0.2))),
        row(image="three", certified_eps=math.nan, **radius | {"bound": math.nan}),
    )  # fmt: skip
    points = curve_points(averages_of(rows))
    assert point(points, "certified", "center", "mse")["value"] == pytest.approx(4e-3)
    assert "truth" not in set(points.loc[points["curve"] == "center", "kind"])  # that is of its ball, not of the centre
    figure = truth_figure(averages_of(rows))
    assert figure.axes[0].get_title().endswith("radius: ε ≤ 0.16 at MSE ≤ 0.01 (none for 1, mean of the other 2)")
    whole = truth_figure(averages_of(rows[rows["image"] != "three"]))
    assert whole.axes[0].get_title().endswith("radius: ε ≤ 0.16 at MSE ≤ 0.01 (mean of 2)")
    assert "radius" not in truth_figure(averages_of(rows[rows["certifier"] == "center"])).axes[0].get_title()


def test_several_radii_make_the_figure(tmp_path: Path) -> None:
    assert not has_curves(stored(tmp_path / "one", row(eps=0.0), row()))
    stored(tmp_path / "two", row(eps=0.0), row(), row(eps=0.2, units="matched"))
    written = {p.name for p in report([tmp_path / "two"], tmp_path / "out")}
    assert {"truth.png", "truth.pdf"} <= written


def test_published_certificates_are_labelled_in_their_panels(tmp_path: Path) -> None:
    rows = stored(tmp_path, *(row(units="paper", sound=False, eps=e) for e in (0.1, 0.2)))
    figure = truth_figure(averages_of(rows))
    assert PAPER_LABEL in figure.axes[0].get_title()
    assert figure._suptitle is not None
    assert figure._suptitle.get_text() == f"certificates: {PAPER_LABEL}"
