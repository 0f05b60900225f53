"""Averages of rows: over the runs of each image first, then over the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting.averages import Averages, best_sigma, soundness, title
from invsmooth.reporting.methods import with_methods
from invsmooth.reporting.runs import Run
from tests.reporting.declared import DECLARED
from tests.reporting.made import NONE, row


def cells_of(*rows: dict[str, Any], folder: str = "run") -> Averages:
    """Of rows as they would be read, from the folder of their run_id."""
    frame = pd.DataFrame(list(rows), columns=DECLARED.schema.names).assign(folder=[r["run_id"] for r in rows])
    frame["n_samples"] = frame["n_samples"].astype("Int64")
    runs = {name: Run(Path(name), None, None, None) for name in frame["folder"]}
    return Averages(with_methods(frame, runs), DECLARED)


def test_seeds_are_averaged_for_each_image_first() -> None:
    """Image one has three seeds, the others one: every image counts once. No mean here is a median."""
    own = [{"psnr_attacked": 20.0}, {"run_id": "b", "psnr_attacked": 21.0}, {"run_id": "c", "psnr_attacked": 28.0},
           {"image": "two", "psnr_attacked": 30.0}, {"image": "three", "psnr_attacked": 31.0}]  # fmt: skip
    cell = cells_of(*(row(**values) for values in own)).table.iloc[0]
    assert cell["psnr_attacked"] == pytest.approx((23 + 30 + 31) / 3)
    assert cell["psnr_attacked_std"] == pytest.approx(np.std([23.0, 30.0, 31.0]))
    assert (cell["images"], cell["runs"], cell["rows"], cell["folders"]) == (3, 3, 5, "a;b;c")


def test_images_without_a_certificate_are_counted() -> None:
    cell = cells_of(row(bound=1e-3), row(image="two", **NONE), row(image="three", bound=3e-3)).table.iloc[0]
    assert (cell["bound"], cell["bound_n"], cell["images"]) == (2e-3, 2, 3)


def test_what_differs_in_a_key_is_another_cell() -> None:
    keys = [{}, {"eps": 0.2}, {"sigma": 12.0}, {"n_samples": 500}, {"ratio": 0.2}, {"units": "paper"}, {"certifier": "mean"},
            {"attack": "apgd"}, {"dataset": "other"}, {"algo": "adv"}]  # fmt: skip
    assert len(cells_of(*(row(**values) for values in keys)).table) == len(keys)
    # A radius that is decided stops at another number of draws for each image.
    radius = {"certifier": "radius", "certified_eps": 0.1}
    assert len(cells_of(row(**radius), row(image="two", **radius | {"n_samples": 60})).table) == 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from([0.1, 0.2]), st.floats(10, 40)),
        min_size=1, max_size=12, unique_by=lambda line: line[:3],
    )
)  # fmt: skip
def test_means_and_deviations_by_hand(lines: list[tuple[str, int, float, float]]) -> None:
    table = cells_of(*(row(run_id=r, image=str(i), eps=e, psnr_median=v) for r, i, e, v in lines)).table.set_index(
        "eps"
    )
    for eps in {line[2] for line in lines}:
        images = {line[1] for line in lines if line[2] == eps}
        means = [np.mean([v for _, i, e, v in lines if (i, e) == (image, eps)]) for image in images]
        assert table.loc[eps, "psnr_median"] == pytest.approx(np.mean(means))
        assert table.loc[eps, "psnr_median_std"] == pytest.approx(np.std(means), abs=1e-6)


def test_the_best_sigma_is_common_to_all_methods() -> None:
    """smt_adv alone would choose 40, where ord was not run; together 25 beats 12."""
    psnr = {("ord", 12.0): 30.0, ("ord", 25.0): 29.0, ("adv", 12.0): 26.0, ("adv", 25.0): 28.0, ("adv", 40.0): 39.0}
    table = cells_of(*(row(algo=a, run_id=a, sigma=s, psnr_median=v) for (a, s), v in psnr.items())).table
    assert best_sigma(table, "discrepancy") == 25.0
    assert np.isnan(best_sigma(table, "mean"))
    apart = table[~((table["algo"] == "ord") | (table["sigma"] == 40.0))]
    assert best_sigma(apart, "discrepancy") == 25.0


def test_without_certificates_the_best_sigma_is_that_of_the_median() -> None:
    table = cells_of(row(sigma=12.0, psnr_median=20.0, **NONE), row(psnr_median=21.0, **NONE)).table
    assert best_sigma(table, "discrepancy") == 25.0
    # One with a certificate comes first.
    table = cells_of(row(sigma=12.0, psnr_median=20.0), row(psnr_median=21.0, **NONE)).table
    assert best_sigma(table, "discrepancy") == 12.0


def test_the_best_sigma_is_picked_by_the_median_or_the_certified_psnr_and_never_by_the_draw_of_rank_k() -> None:
    table = cells_of(row(sigma=12.0, psnr_median=28.0, psnr_certified=20.0), row(psnr_certified=27.0)).table
    assert best_sigma(table, "discrepancy") == 12.0
    own = {"certifier": "error"}
    table = cells_of(
        row(sigma=12.0, psnr_median=28.0, psnr_certified=26.0, certified_psnr=20.0, **own),
        row(certified_psnr=21.0, **own),
    ).table
    assert best_sigma(table, "error", "certified_psnr") == 25.0


def test_soundness_is_said() -> None:
    assert soundness(cells_of(row()).table, "PSNR") == "certified PSNR: sound"
    assert soundness(cells_of(row(sound=False)).table, "PSNR") == "certified PSNR: not always sound"
    assert soundness(cells_of(row(**NONE)).table, "PSNR") == "no certificate exists"
    assert soundness(cells_of(row(units="paper", sound=False)).table, "PSNR") == f"certified PSNR {PAPER_LABEL}"


def test_an_unusual_attack_stands_in_the_title() -> None:
    (setting, _), *_ = cells_of(row(attack="apgd", attack_target="mean")).blocks(["task", "dataset", "ratio", "sigma_b",
        "attack", "attack_target", "protocol"])  # fmt: skip
    assert title(setting) == "cs on set, m/n = 0.1, σ_b = 0, apgd on mean"


def test_radius_repeats_another_certifier() -> None:
    radius = row(certifier="radius", certified_eps=0.1)
    assert [len(lines) for _, lines in cells_of(row(), radius).blocks(["task", "n_samples"])] == [1]
    assert [len(lines) for _, lines in cells_of(radius).blocks(["task", "n_samples"])] == [1]
