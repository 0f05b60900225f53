"""Paired differences and their intervals."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from invsmooth.reporting.tables.grid import Entry
from invsmooth.reporting.tables.significance import (
    Difference,
    compare,
    paired_differences,
    shown_difference,
    significance_table,
)
from tests.reporting.made import row
from tests.reporting.test_cells import cells_of


def exact_limits(values: list[float], level: float) -> tuple[float, float]:
    """Percentiles of the mean over all n^n resamples: what a bootstrap approximates by drawing some."""
    means = [np.mean(resample) for resample in itertools.product(values, repeat=len(values))]
    return tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))


def test_intervals_are_those_of_all_resamples() -> None:
    values = [0.3, -0.5, 1.0, 0.8, 0.1, 2.0]  # 46656 resamples
    (found,) = paired_differences(np.array([values]), n_pairs=4)
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx(exact_limits(values, 0.95), abs=0.03)
    assert (found.low_together, found.high_together) == pytest.approx(exact_limits(values, 1 - 0.05 / 4), abs=0.04)
    assert (found,) == tuple(paired_differences(np.array([values]), n_pairs=4))  # the same report again


def test_images_that_all_differ_alike_leave_no_doubt() -> None:
    (found,) = paired_differences(np.full((1, 5), 0.25), n_pairs=1)
    assert (found.low, found.high) == (0.25, 0.25)
    assert shown_difference(found, decimals=True) == "+0.25 [+0.25, +0.25]*"


def test_few_images_have_no_interval() -> None:
    (found,) = paired_differences(np.array([[1.0, 2.0, 3.0, 4.0]]), n_pairs=1)
    assert (found.mean, found.n) == (2.5, 4)
    assert np.isnan([found.low, found.high, found.low_together, found.high_together]).all()
    assert shown_difference(found, decimals=True) == "+2.50 (no interval)"


def test_images_are_paired_by_name_and_only_where_both_have_one() -> None:
    a = pd.Series({"one": 1.0, "two": 2.0, "three": 3.0})
    b = pd.Series({"three": 1.0, "two": 1.0, "four": 9.0})
    table = pd.DataFrame({"a": a, "b": b, "c": pd.Series({"five": 0.0})})
    found = compare(table, [("a", "b"), ("a", "c"), ("a", "not run")])
    assert set(found) == {("a", "b")}
    assert (found["a", "b"].mean, found["a", "b"].n) == (1.5, 2)


def test_differences_of_mse_share_a_power_of_ten() -> None:
    d = Difference(9, -1.25e-4, -2.5e-4, 1e-5, -3e-4, 2e-5)
    assert shown_difference(d, decimals=False) == "−1.25 [−2.50, +0.10] × 10⁻⁴"
    assert shown_difference(Difference(9, *[0.0] * 5), decimals=False) == "+0.00 [+0.00, +0.00]"


def test_the_table_compares_all_pairs_at_the_common_sigma() -> None:
    """smt_grad is better by 1 dB on every image, but for one at which it is better by 2; two seeds are averaged."""
    rows = []
    for run, algo, gain in (("a", "ord", 0.0), ("g1", "smt_grad", 0.5), ("g2", "smt_grad", 1.5)):
        for k in range(8):
            for sigma in (12.0, 25.0):
                own = 20.0 + k + gain + (algo != "ord" and k == 0)
                values = {"psnr_attacked": own, "psnr_median": own + sigma / 10, "psnr_certified": own + sigma / 10}
                rows.append(row(run_id=run, algo=algo, image=str(k), sigma=sigma, bound=1e-3 - 1e-4 * gain, **values))
    table = significance_table(cells_of(*rows))
    (block,) = table.blocks
    (line,) = block.lines
    assert line[:2] == ["smt_grad − ord", "8"]
    assert block.spans == [("", 2), ("σ = 0", 1), ("σ = 25", 1), ("σ = 25", 1)]
    entries = [cell for cell in line[2:] if isinstance(cell, Entry) and cell.source]
    assert [e.source["value"] for e in entries] == pytest.approx([9 / 8, 9 / 8, -1e-4])  # type: ignore[index]
    # Resamples without the one image have mean 1, which is the lower limit.
    assert entries[0].text.startswith("+1.12 [+1.00, +1.")
    assert entries[0].text.endswith("]*")
    assert entries[2].text == "−1.00 [−1.00, −1.00] × 10⁻⁴*"
    assert entries[0].source["folders"] == "a;g1;g2"  # type: ignore[index]


def test_one_method_is_compared_with_nothing() -> None:
    assert not significance_table(cells_of(row())).has_numbers()
