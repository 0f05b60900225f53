"""The paper's Tables 1, 2 and 4 from a fixed set of rows: every number is computed here once more, by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invsmooth.core.units import PAPER_LABEL
from invsmooth.reporting.tables.grid import Block, Entry, Table
from invsmooth.reporting.tables.paper import certified_psnr_table, median_table, samples_table, tradeoff_table
from tests.reporting.made import NONE, row
from tests.reporting.test_cells import cells_of

PSNR = {"ord": [30.0, 34.0], "smt_adv": [31.0, 33.0]}
"""Clean, of the images one and two. Under attack 4 dB less for each unit of eps; smoothing gives back 1 dB at σ = 25."""


def fixed_rows(**changed: Any) -> list[dict[str, Any]]:
    rows = []
    for algo, psnr in PSNR.items():
        for image, clean in zip(("one", "two"), psnr, strict=True):
            for eps in (0.0, 0.1, 0.2):
                for sigma, gain, bound in ((12.0, 0.5, 1e-4), (25.0, 1.0, 2e-4)):
                    attacked = clean - 40 * eps
                    own: dict[str, Any] = {
                        "psnr_clean": clean, "psnr_attacked": attacked, "psnr_median": attacked + gain,
                        "psnr_certified": attacked + gain - 0.25, "discrepancy_median": bound,
                        "bound": 2 * bound + eps * 1e-3, "seconds": 0.5,
                    }  # fmt: skip
                    if eps == 0.2 and sigma == 12.0:
                        own |= NONE
                    rows.append(row(run_id=algo, algo=algo, image=image, eps=eps, sigma=sigma, **own | changed))
    return rows


def lines(block: Block) -> dict[str, list[str]]:
    return {str(line[0]): [cell.text if isinstance(cell, Entry) else cell for cell in line[1:]] for line in block.lines}


def test_table_1() -> None:
    """Clean, and for each eps attacked, median, draw of rank K at the σ with the best median: 25 (+ 1 dB)."""
    table = tradeoff_table(cells_of(*fixed_rows()))
    (block,) = table.blocks
    assert block.spans == [("", 1), ("ε = 0", 1), ("ε = 0.1, σ = 25", 3), ("ε = 0.2, σ = 25", 3)]
    # The means of 30 and 34, and of 31 and 33, are 32; 4 dB and 8 dB below.
    numbers = ["32.00", "28.00", "29.00", "28.75", "24.00", "25.00", "24.75"]
    # What smt_adv was trained with is not on record.
    assert lines(block) == {"ord": numbers, "smt_adv (σ_tr = –)": numbers}
    assert block.header == ["trained by", "clean", *("attacked", "median", "draw of rank K") * 2]
    assert block.title == "cs on set, m/n = 0.1, σ_b = 0, S = 50"  # it shows nothing that is certified


def test_table_1_has_lines_for_what_was_run_elsewhere_and_none_where_no_certificate_exists() -> None:
    rows = [r for r in fixed_rows() if r["sigma"] == 12.0]
    other = [row(run_id="jcb", algo="jcb", ratio=0.2, eps=0.0)]
    first, second = tradeoff_table(cells_of(*rows, *other)).blocks
    assert lines(first)["jcb"] == ["–"] * 7
    assert lines(first)["ord"] == ["32.00", "28.00", "28.50", "28.25", "24.00", "24.50", "none"]
    assert lines(second) == {"jcb": ["30.00"], "ord": ["–"], "smt_adv": ["–"]}


def test_table_1_of_many_radii_fits_a_page() -> None:
    blocks = tradeoff_table(cells_of(*(row(eps=e) for e in (0.0, 0.1, 0.2, 0.3)))).blocks
    assert [[heading for heading, _ in block.spans[2:]] for block in blocks] == [
        ["ε = 0.1, σ = 25", "ε = 0.2, σ = 25"], ["ε = 0.3, σ = 25"],
    ]  # fmt: skip


def test_an_attack_on_the_smoothed_estimator_is_another_at_each_sigma() -> None:
    own = {"attack": "pgd", "attack_target": "mean"}
    rows = [row(sigma=12.0, psnr_attacked=20.0, psnr_median=20.0, **own), row(psnr_attacked=22.0, **own)]
    assert lines(tradeoff_table(cells_of(*rows)).blocks[0])["ord"][1] == "22.00"


def test_table_2() -> None:
    """Each line at its own best σ that has a certificate."""
    (block,) = median_table(cells_of(*fixed_rows())).blocks
    found = [[cell.text if isinstance(cell, Entry) else cell for cell in line] for line in block.lines]
    # discrepancy_median 2e-4; bounds 4e-4 + eps · 1e-3.
    assert found == [
        ["ord", "0.1", "25", "29.00", "2.000", "28.75", "5.000"],
        ["smt_adv", "0.1", "25", "29.00", "2.000", "28.75", "5.000"],
        ["ord", "0.2", "25", "25.00", "2.000", "24.75", "6.000"],
        ["smt_adv", "0.2", "25", "25.00", "2.000", "24.75", "6.000"],
    ]
    assert block.header[-1] == "discrepancy, 10⁻⁴"
    assert block.spans == [("", 3), ("smoothed median", 2), ("draw of rank K", 1), ("certificate", 1)]
    assert block.title.endswith("certified discrepancy: sound")


def test_table_2_takes_a_sigma_with_a_certificate_before_a_better_one() -> None:
    rows = [row(sigma=12.0, psnr_median=35.0, **NONE), row()]
    (block,) = median_table(cells_of(*rows)).blocks
    assert [c if isinstance(c, str) else c.text for c in block.lines[0]][2:4] == ["25", "27.00"]
    (block,) = median_table(cells_of(rows[0])).blocks
    assert [c if isinstance(c, str) else c.text for c in block.lines[0]][2:] == ["12", "35.00", "1.000", "none", "none"]


def test_table_4() -> None:
    """Mean ± standard deviation over the images, for each S; σ is the best at the largest S."""
    many = [r | {"n_samples": 500, "bound": r["bound"] / 2, "seconds": 5.0} for r in fixed_rows() if r["algo"] == "ord"]
    blocks = samples_table(cells_of(*fixed_rows(), *many)).blocks
    assert [block.title.split(": ")[0] for block in blocks] == [
        "cs on set, m/n = 0.1, σ_b = 0, ε = 0.1, σ = 25", "cs on set, m/n = 0.1, σ_b = 0, ε = 0.2, σ = 25",
    ]  # fmt: skip
    assert blocks[0].spans == [("", 1), ("S = 50 (t = 0.50 s)", 2), ("S = 500 (t = 5.00 s)", 2)]
    assert blocks[0].header[1:3] == ["certified discrepancy, 10⁻⁴", "PSNR, rank K"]
    certified = np.array(PSNR["ord"]) - 4 + 0.75
    assert lines(blocks[0]) == {
        "ord": ["5.000 ± 0.000", f"{certified.mean():.2f} ± {certified.std():.2f}", "2.500 ± 0.000", "28.75 ± 2.00"],
        "smt_adv": ["5.000 ± 0.000", "28.75 ± 1.00", "–", "–"],
    }


def test_some_images_without_certificate_are_counted() -> None:
    (block,) = samples_table(cells_of(row(), row(image="two", **NONE))).blocks
    assert lines(block)["ord"] == ["2.000 ± 0.000 [1/2]", "26.00 ± 0.00 [1/2]"]


def test_certified_psnr() -> None:
    """Of error at the σ with the best certified PSNR for all methods together, of mean likewise."""
    rows = []
    for algo, k in (("ord", 0.0), ("adv", 1.0)):
        for sigma, certified in ((12.0, 20.0), (25.0, 22.0)):
            own = {"algo": algo, "run_id": algo, "sigma": sigma}
            rows.append(row(certifier="error", certified_psnr=certified + k, **own))
            rows.append(row(certifier="mean", certified_psnr_mean=30 - certified / 10 + k, **own))
    error, mean = certified_psnr_table(cells_of(*rows)).blocks
    assert error.title.startswith("error: cs on set")
    assert (error.spans[2], lines(error)) == (
        ("ε = 0.1, σ = 25", 2), {"ord": ["30.00", "28.00", "22.00"], "adv": ["30.00", "28.00", "23.00"]},
    )  # fmt: skip
    assert (mean.spans[2], lines(mean)["ord"][-1]) == (("ε = 0.1, σ = 12", 2), "28.00")


@pytest.mark.parametrize("make", [tradeoff_table, median_table, samples_table])
def test_what_is_no_certificate_is_labelled(make: Any) -> None:
    table: Table = make(cells_of(*fixed_rows(units="paper", sound=False)))
    assert all(PAPER_LABEL in block.title for block in table.blocks)


def test_tables_without_a_number_have_none() -> None:
    only_mean = cells_of(row(certifier="mean", discrepancy_median=math.nan))
    assert [make(only_mean).has_numbers() for make in (tradeoff_table, median_table, samples_table)] == [
        True,
        False,
        False,
    ]
    assert not certified_psnr_table(cells_of(row())).has_numbers()


def test_the_unsmoothed_is_no_sigma(tmp_path: Path) -> None:
    """Rows at σ = 0 take no part in the choice of the best σ."""
    rows = [row(sigma=0.0, psnr_median=99.0, psnr_certified=99.0), row()]
    assert tradeoff_table(cells_of(*rows)).blocks[0].spans[2][0] == "ε = 0.1, σ = 25"
