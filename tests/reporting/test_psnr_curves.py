"""Clean, attacked and certified PSNR of all methods over eps: the numbers of the curves, and what the figure draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from invsmooth.reporting.figures.psnr import RANGE, psnr_figure
from invsmooth.reporting.psnr_curves import has_psnr, picked_note, psnr_curves, words
from tests.reporting.lipschitz_rows import averages, best, made, mixed, only_plain, plain, smoothed


def curve(points: pd.DataFrame, method: str, kind: str) -> dict[float, float]:
    own = points[(points["method"] == method) & (points["kind"] == kind)]
    assert not own["eps"].duplicated().any()
    return dict(zip(own["eps"], own["value"].round(6), strict=True))


def test_curves_are_means_over_the_images_and_end_where_no_certificate_is(tmp_path: Path) -> None:
    points = psnr_curves(averages(tmp_path, mixed(), only_plain()))
    # The images are 2 dB apart.
    assert curve(points, "ord", "attacked") == {0.1: 30.0, 1.0: 26.0, 5.0: 19.0}
    assert curve(points, "ord", "certified") == {0.1: 30.5, 1.0: 29.0, 5.0: 25.0}
    assert curve(points, "ord", "smoothed") == {0.1: 26.0}  # 24 + 25 / 25 + 1; at σ = 12 it is 25.48
    assert curve(points, "adv", "certified") == {1.0: 28.5, 15.0: 19.0}
    assert curve(points, "adv", "smoothed") == {}
    clean = points[points["kind"] == "clean"]
    assert dict(zip(clean["method"], clean["value"], strict=True)) == {"ord": 31.0, "adv": 30.0}
    assert clean["eps"].isna().all()
    assert "best" not in set(points["certifier"])  # it repeats others


def test_at_each_eps_the_best_sigma_and_certifier(tmp_path: Path) -> None:
    def mean(eps: float, sigma: float, psnr: float) -> dict[str, Any]:
        return made(certifier="mean", eps=eps, sigma=sigma, certified_psnr_mean=psnr, certified_psnr=None, k_index=None)

    rows = [smoothed(0.1, 12.0, 27.0), smoothed(0.1, 25.0, 26.0), mean(0.1, 25.0, 26.5),
            smoothed(0.2, 12.0, None), smoothed(0.2, 25.0, 24.0), mean(0.2, 25.0, 24.5)]  # fmt: skip
    found = averages(tmp_path, rows)
    points = psnr_curves(found)
    own = points[points["kind"] == "smoothed"]
    assert own[["eps", "value", "certifier", "sigma"]].to_numpy().tolist() == [
        [0.1, 27.0, "error", 12.0], [0.2, 24.5, "mean", 25.0],
    ]  # fmt: skip
    said = words("smoothed", points, picked_note(found))
    assert "here error (σ = 12), mean (σ = 25)" in said


def test_all_methods_are_compared_on_the_same_images(tmp_path: Path) -> None:
    """adv has the harder image alone; a mean over the others would flatter ord."""
    points = psnr_curves(averages(tmp_path, mixed(images=("one", "two")), only_plain(images=("one",))))
    assert set(points["images"]) == {1}
    assert curve(points, "ord", "certified")[1.0] == 28.0
    # An image without a value ends the curve.
    rows = mixed(images=("one", "two"))
    rows = [r for r in rows if not (r["image"] == "two" and r["eps"] == 5.0 and r["certifier"] == "lipschitz")]
    points = psnr_curves(averages(tmp_path / "b", rows))
    assert list(curve(points, "ord", "certified")) == [0.1, 1.0]


def test_attacked_is_by_the_strongest_attack_on_each_image(tmp_path: Path) -> None:
    attacked = {("one", "pgd"): 27.0, ("one", "apgd"): 26.0, ("two", "pgd"): 24.0, ("two", "apgd"): 25.0}
    rows = [plain(1.0, 20.0, image=i, attack=a, run_id=a, psnr_attacked=p) for (i, a), p in attacked.items()]
    points = psnr_curves(averages(tmp_path, rows))
    assert curve(points, "ord", "attacked") == {1.0: 25.0}
    assert curve(points, "ord", "certified") == {1.0: 20.0}


def test_only_sound_certificates_against_attacks_on_the_signal(tmp_path: Path) -> None:
    rows = [smoothed(0.1, 25.0, 26.0, units="paper", sound=False), plain(0.1, 29.0, threat="measurement", run_id="b")]
    points = psnr_curves(averages(tmp_path, rows))
    assert set(points["kind"]) == {"clean", "attacked"}


@pytest.mark.parametrize(
    ("each", "n", "said"),
    [
        (0.99, 1, ""),
        (0.99, 2, "up to 2 certificates of an image is picked afterwards. Nobody paid for that: the one picked holds with "
                  "probability at least 0.98 (union bound), not 0.99."),
        (0.995, 2, "up to 2 certificates of an image is picked afterwards; they hold together with probability at least "
                   "0.99."),
        (0.4, 2, "the one picked holds without any guarantee (union bound), not 0.4."),
    ],
)  # fmt: skip
def test_picking_the_best_sigma_is_paid_for_or_said(tmp_path: Path, each: float, n: int, said: str) -> None:
    rows = [smoothed(0.1, s, 26.0 + s, confidence_each=each, confidence=min(each, 0.99), image=i)
            for s in (12.0, 25.0)[:n] for i in ("one", "two")]  # fmt: skip
    note = picked_note(averages(tmp_path, [*rows, *(best(0.1, s, 26.0, "error") for s in (12.0, 25.0))]))
    assert note.endswith(said)
    assert bool(note) == bool(said)


def test_the_figure_has_a_panel_for_each_place_and_a_line_for_each_curve(tmp_path: Path) -> None:
    other = [r | {"sigma_b": 25.0} for r in only_plain()]
    found = averages(tmp_path, mixed(), only_plain(), other)
    figure = psnr_figure(found, psnr_curves(found))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [a.get_title() for a in shown] == [f"denoise on bsd68, m/n = 1, σ_b = {b} (2 images)" for b in (15, 25)]
    assert all(a.get_xscale() == "log" for a in shown)
    assert all(a.get_xlim()[0] < RANGE[0] < RANGE[1] < a.get_xlim()[1] for a in shown)
    lines = {str(line.get_label()): line for line in shown[0].lines}
    assert set(lines) == {f"ord, {k}" for k in ("clean", "attacked", "certified", "smoothed")} | {
        f"adv, {k}" for k in ("clean", "attacked", "certified")
    }  # fmt: skip
    assert list(lines["adv, certified"].get_data()[1]) == pytest.approx([28.5, 19.0])
    assert list(lines["ord, clean"].get_data()[1]) == [31.0, 31.0]
    # Colour by method, line by kind.
    assert len({lines[f"ord, {k}"].get_color() for k in ("clean", "attacked", "certified", "smoothed")}) == 1
    assert lines["ord, certified"].get_color() != lines["adv, certified"].get_color()
    assert lines["ord, certified"].get_linestyle() == lines["adv, certified"].get_linestyle() == "-"
    assert has_psnr(psnr_curves(found))
    assert not has_psnr(psnr_curves(averages(tmp_path / "clean", [smoothed(0.0, 25.0, 28.0)])))
