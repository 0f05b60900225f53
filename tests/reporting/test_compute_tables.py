"""Table 3 and the other costs, from metrics and rows made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from invsmooth.records.rows import write_rows
from invsmooth.reporting.methods import read_runs, with_methods
from invsmooth.reporting.tables.costs import compute_table, evaluation_table, seconds_table, trainings
from invsmooth.reporting.tables.grid import Block, Entry
from tests.reporting.declared import DECLARED
from tests.reporting.made import read, row
from tests.reporting.sweep_made import write_config, write_metrics
from tests.reporting.test_cells import cells_of


def texts(block: Block) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Entry) else cell for cell in line] for line in block.lines]


@pytest.fixture
def trained(tmp_path: Path) -> Any:
    """ord twice, smt_adv at two σ_tr and at two S, and an adv without metrics."""
    runs: dict[str, tuple[str, dict[str, float], list[float], float]] = {
        "a": ("ord", {}, [0.4], 1.0), "b": ("ord", {}, [0.6], 1.0), "c": ("adv", {}, [], 0.0),
        "d": ("smt_adv", {"sigma": 10.0, "n_samples": 15}, [5.0, 5.0, 90.0], 40.0),
        "e": ("smt_adv", {"sigma": 5.0, "n_samples": 15}, [6.0], 40.0),
        "f": ("smt_adv", {"sigma": 5.0, "n_samples": 4}, [2.0], 10.0),
    }  # fmt: skip
    for name, (algo, settings, seconds, evals) in runs.items():
        folder = tmp_path / name
        write_config(folder, algo, **settings)
        write_rows(folder / "results.parquet", [row(run_id=name, algo=algo, estimator_sha256=name)], DECLARED)
        if seconds:
            write_metrics(folder, seconds, evals)
    rows = read([tmp_path / name for name in runs])
    found = read_runs(rows)
    return trainings(with_methods(rows, found), found)


def test_table_3(trained: Any) -> None:
    """σ_tr does not change what a batch costs: those are averaged. S does."""
    (block,) = seconds_table(trained, {"ord", "adv", "smt_adv"}, DECLARED).blocks
    assert block.header[3:] == ["ord", "smt_adv (S_tr = 15)", "smt_adv (S_tr = 4)", "adv"]
    assert texts(block) == [["DPDNN and div2k (cs)", "32", "cpu", "0.5 s", "5.5 s", "2 s", "–"]]


def test_costs_relative_to_ord(trained: Any) -> None:
    (block,) = compute_table(trained, {"ord", "adv", "smt_adv"}, DECLARED).blocks
    assert texts(block) == [
        ["ord", "0.5", "1", "1", "1", "100"],
        ["smt_adv (S_tr = 15)", "5.5", "11", "40", "40", "100"],
        ["smt_adv (S_tr = 4)", "2", "4", "10", "10", "100"],
        ["adv", "–", "–", "–", "–", "–"],
    ]


def test_without_ord_nothing_is_relative_to_it(trained: Any) -> None:
    (block,) = compute_table(trained[trained["algo"] != "ord"], {"smt_adv"}, DECLARED).blocks
    assert texts(block)[0] == ["smt_adv (S_tr = 15)", "5.5", "–", "40", "–", "100"]
    assert not seconds_table(trained.iloc[:0], {"ord"}, DECLARED).has_numbers()


def test_costs_of_an_evaluation() -> None:
    """The attack of ε = 0 takes no gradients and does not count."""
    rows = [
        row(eps=e, sigma=s, network_evals=n, seconds=t, attack="pgd", attack_target="base", attack_grad_evals=g)
        for e, g in ((0.0, 0), (0.1, 20), (0.2, 40))
        for s, n, t in ((12.0, 51, 0.5), (25.0, 53, 1.5))
    ]
    (block,) = evaluation_table(cells_of(*rows)).blocks
    assert texts(block) == [["ord", "discrepancy", "50", "52", "1", "pgd on base", "30"]]
    (block,) = evaluation_table(cells_of(row())).blocks
    assert texts(block) == [["ord", "discrepancy", "50", "–", "–", "–", "–"]]
