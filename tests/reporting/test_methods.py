"""What is compared: which runs are one method, and what reports know of a run beside its rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from invsmooth.core.errors import ConfigError
from invsmooth.records.rows import write_rows
from invsmooth.reporting.methods import in_order, read_runs, with_methods
from invsmooth.reporting.runs import read_metrics, read_run
from tests.reporting.declared import DECLARED
from tests.reporting.made import read, row
from tests.reporting.sweep_made import write_config, write_metrics


def written(root: Path, name: str, algo: str, **values: Any) -> Path:
    """A run folder with one row."""
    folder = root / name
    folder.mkdir(parents=True)
    write_rows(folder / "results.parquet", [row(run_id=name, algo=algo, estimator_sha256=name, **values)], DECLARED)
    return folder


def methods(root: Path) -> dict[str, str]:
    """The method of each run folder in ``root``."""
    rows = read([p.parent for p in root.glob("*/results.parquet")])
    found = with_methods(rows, read_runs(rows))
    return {Path(folder).name: method for folder, method in zip(found["folder"], found["method"], strict=True)}


def test_seeds_are_one_method_and_other_settings_are_not(tmp_path: Path) -> None:
    for name, sigma, seed in (("a", 10.0, 0), ("b", 10.0, 1), ("c", 5.0, 0)):
        write_config(written(tmp_path, name, "smt_adv"), "smt_adv", sigma=sigma, seed=seed)
    write_config(written(tmp_path, "d", "ord"), "ord", compute_match=None)
    write_config(written(tmp_path, "e", "ord"), "ord", compute_match="smt_grad")
    assert methods(tmp_path) == {
        "a": "smt_adv (σ_tr = 10)", "b": "smt_adv (σ_tr = 10)", "c": "smt_adv (σ_tr = 5)",
        "d": "ord (compute_match = None)", "e": "ord (compute_match = smt_grad)",
    }  # fmt: skip


def test_what_the_attack_of_a_task_is_does_not_matter_to_ord(tmp_path: Path) -> None:
    write_config(written(tmp_path, "a", "ord"), "ord", task__eps=5.0)
    write_config(written(tmp_path, "b", "ord"), "ord", task__eps=1.0)
    assert set(methods(tmp_path).values()) == {"ord"}


def test_settings_of_an_evaluation_are_those_of_the_run_of_its_checkpoint(tmp_path: Path) -> None:
    """Its own config has the algorithm's default values."""
    trained = tmp_path / "elsewhere" / "trained"
    write_config(trained, "smt_adv", sigma=5.0)
    (trained / "checkpoints").mkdir()
    ckpt = str(trained / "checkpoints" / "best.ckpt")
    write_config(written(tmp_path, "followed", "smt_adv"), "smt_adv", sigma=10.0, ckpt=ckpt)
    write_config(written(tmp_path, "lost", "smt_adv"), "smt_adv", sigma=10.0, ckpt="gone/checkpoints/best.ckpt")
    assert (read_run(tmp_path / "followed").training or {})["algo.sigma"] == 5.0
    assert read_run(tmp_path / "lost").training is None
    rows = read([tmp_path / "followed", tmp_path / "lost"])
    found = with_methods(rows, read_runs(rows)).set_index("run_id")
    assert found.loc["followed", "sigma_tr"] == 5.0
    assert math.isnan(found.loc["lost", "sigma_tr"])
    assert found.loc["lost", "method"] == "smt_adv (network lost)"


def test_settings_of_the_very_same_weights_are_known(tmp_path: Path) -> None:
    write_config(written(tmp_path, "trained", "smt_adv"), "smt_adv", sigma=5.0)
    evaluated = written(tmp_path, "evaluated", "smt_adv")
    write_rows(
        evaluated / "results.parquet", [row(run_id="evaluated", algo="smt_adv", estimator_sha256="trained")], DECLARED
    )
    write_config(evaluated, "smt_adv", sigma=10.0, ckpt="gone/best.ckpt")
    rows = read([tmp_path / "trained", evaluated])
    assert list(with_methods(rows, read_runs(rows))["sigma_tr"]) == [5.0, 5.0]


def test_networks_of_unknown_settings_are_kept_apart_and_no_config_is_no_error(tmp_path: Path) -> None:
    for name in "ab":
        written(tmp_path, name, "adv")
    written(tmp_path, "c", "ord")
    assert methods(tmp_path) == {
        "a": "adv (network a)", "b": "adv (network b)", "c": "ord",
    }  # fmt: skip


def test_a_config_of_another_algorithm_says_nothing_of_a_row(tmp_path: Path) -> None:
    write_config(written(tmp_path, "a", "ord"), "smt_adv", sigma=10.0)
    rows = read([tmp_path / "a"])
    assert with_methods(rows, read_runs(rows))["sigma_tr"].isna().all()


def test_evaluations_that_differ_are_kept_apart(tmp_path: Path) -> None:
    write_config(written(tmp_path, "a", "ord"), "ord", attack__n_iter=20)
    write_config(written(tmp_path, "b", "ord", n_samples=500), "ord", attack__n_iter=100)
    written(tmp_path, "c", "adv")
    rows = read([tmp_path / name for name in "abc"])
    found = with_methods(rows, read_runs(rows))
    assert list(found["protocol"]) == ["attack gradients = 20", "attack gradients = 100", "evaluation settings unknown"]
    assert list(found["label"])[:2] == [
        "ord, attack gradients = 20, S = 50", "ord, attack gradients = 100, S = 500",
    ]  # fmt: skip


def test_methods_stand_in_the_order_of_the_paper(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        [("zeta", 0.0, "zeta"), ("smt_grad", 1.0, "g1"), ("smt_grad", 10.0, "g10"), ("adv", math.nan, "adv"),
         ("ord", math.nan, "ord"), ("jcb", math.nan, "jcb")],
        columns=["algo", "sigma_tr", "method"],
    )  # fmt: skip
    assert in_order(frame, DECLARED) == ["ord", "jcb", "adv", "g10", "g1", "zeta"]


def test_metrics_are_medians_and_the_largest_memory(tmp_path: Path) -> None:
    write_metrics(tmp_path, [9.0, 1.0, 2.0, 3.0], evals=4.0, memory=[100.0, 300.0, 200.0])
    assert read_metrics(tmp_path) == {"seconds": 2.5, "evals": 4.0, "memory": 300.0}
    (tmp_path / "metrics.csv").write_text("epoch,test/psnr\n0,29.5\n")
    assert read_metrics(tmp_path) == {}
    (tmp_path / "metrics.csv").write_text("")
    assert read_metrics(tmp_path) == {}
    (tmp_path / "metrics.csv").unlink()
    run = read_run(tmp_path)
    assert run.config is None
    assert math.isnan(run.seconds)


@pytest.mark.parametrize(("text", "said"), [("a: [1", "is no YAML"), ("- 1", "is no config")])
def test_a_broken_config_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"config\.yaml {said}.*leave the run out"):
        read_run(tmp_path)


def test_networks_of_several_classes_are_named_by_the_class(tmp_path: Path) -> None:
    """And by the settings in which those of one class differ, not by those that another class lacks."""
    for name, values in {
        "a": {"estimator___target_": "invsmooth.estimators.DPDNN"},
        "b": {"estimator___target_": "invsmooth.estimators.TV", "estimator__weight": 0.04},
        "c": {"estimator___target_": "invsmooth.estimators.TV", "estimator__weight": 0.06},
    }.items():
        write_config(written(tmp_path, name, "ord"), "ord", **values)
    assert methods(tmp_path) == {"a": "ord (DPDNN)", "b": "ord (TV, weight = 0.04)", "c": "ord (TV, weight = 0.06)"}
