"""The cost estimate of a run is what the run then takes; cached results are those that were computed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module

from invsmooth import verify
from invsmooth.config import schema
from invsmooth.estimators import ISTANetPP
from invsmooth.evaluation.job_plan import Cost, JobPlan, print_plans, read_plan
from invsmooth.pipeline import run as pipeline
from tests.training.toys import SETTINGS, Gain, data, module, trainer

TINY = [
    "task=cs", "scale=paper", "estimator.n_phases=1", "estimator.channels=4", "data.crop=33", "data.limit=2",
    "attack.n_iter=3", "attack.check_samples=5", "certify.n_samples=24", "trainer.progress_bar=false", "report=false",
    "operator.ratio=[0.1,0.3]", "operator.train_ratio=[0.1,0.3]",
]  # fmt: skip

PROBES = 2
"""What the network is asked before cached results are used: one fixed image for each ratio."""


class Runs:
    """Runs in this process, with one network, whose forward passes are counted."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.manual_seed(0)
        self.folder, self.number, self.images = folder, 0, 0
        self.net = ISTANetPP(1, 4).eval()
        torch.save({"condition.fc1.weight": torch.zeros(1)}, folder / "some.ckpt")  # as published weights
        monkeypatch.setattr(pipeline.build, "build_estimator", lambda cfg, trains: self.net)
        # A function is not copied with the network, and counts for its copies, too.
        self.net.register_forward_pre_hook(lambda net, arguments: self.count(net, arguments))

    def count(self, net: torch.nn.Module, arguments: tuple) -> None:
        self.images += len(arguments[0])

    def __call__(self, *overrides: str) -> Path:
        self.number += 1
        self.images = 0
        folder = self.folder / str(self.number)
        folder.mkdir()
        own = [f"ckpt={self.folder / 'some.ckpt'}", f"cache={self.folder / 'cache'}"]
        schema.register()
        with initialize_config_module("invsmooth.conf", version_base="1.3"):
            cfg = compose("evaluate", [*TINY, *own, *overrides])
        pipeline.evaluate_checkpoint(cfg, folder)
        return folder

    def plan(self, *overrides: str) -> JobPlan:
        return read_plan(self(*overrides, "sweep=plan"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path, monkeypatch)


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "results.parquet").drop(columns="seconds")


@pytest.mark.parametrize(
    ("certify", "more"),
    [
        ("all", []),
        ("discrepancy", ["attack=apgd", "attack.restarts=2", "attack.init=sphere"]),
        ("error", ["attack=noise", "certify.pixel_intervals=pointwise", "certify.pictures=1"]),
        ("mean", ["attack.target=mean", "attack.n_samples=3", "attack.chunk_size=2"]),
        ("error", ["attack.target=median", "attack.n_samples=6", "attack.n_around=2"]),
        ("center", ["certify.n_pred=50"]),
    ],
)
def test_the_cost_that_is_planned_is_what_it_takes(run: Runs, certify: str, more: list[str]) -> None:
    grid = [f"certify={certify}", "certify.n_samples=24", "attack.eps=[0,0.1]", "certify.sigma=[12,25]", *more,
            "attack.n_iter=3"]  # fmt: skip
    plan = run.plan(*grid)
    planned = sum(cost.evals for cost in plan.costs)
    assert not any(cost.cached for cost in plan.costs)
    assert (plan.cells, plan.done) == (2 * 2 * 2 * 2 * (4 if certify == "all" else 1), 0)
    folder = run(*grid)
    # The memory formats are compared once for a network and size.
    assert planned == pytest.approx(run.images - PROBES, rel=0.01, abs=12)
    assert len(rows(folder)) == plan.cells
    after = run.plan(*grid)
    assert (after.done, after.costs) == (plan.cells, [])


@pytest.mark.parametrize("certifiers", ["[lipschitz]", "[mean,lipschitz,best]"])
def test_a_constant_costs_one_evaluation_and_one_in_each_check(
    run: Runs, certifiers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the certificate files of a run with the best of all hold up."""
    grid = [f"certify.certifiers={certifiers}", "certify.sigma=[12,25]", "attack.eps=[0,0.1]", "attack.n_iter=3"]
    monkeypatch.setattr(ISTANetPP, "lipschitz", lambda net, operator: 50.0, raising=False)
    plan = run.plan(*grid)
    smooths = "mean" in certifiers
    assert (plan.cells, plan.impossible) == (2 * 2 * 2 * (1 + 2 * 2 * smooths), 0)
    assert [c.kind for c in plan.costs].count("draws") == 2 * 2 * 2 * smooths
    if not smooths:  # f(y) and two images more, f and its control at two attacks, f^(y), f^ under the attack
        assert [c.evals for c in plan.costs if c.kind == "rest"] == [1 + 2 + 2 * 2 + 1 + 1] * 4
    folder = run(*grid)
    assert sum(cost.evals for cost in plan.costs) == pytest.approx(run.images - PROBES, rel=0.01)
    assert len(rows(folder)) == plan.cells
    after = run.plan(*grid)
    assert (after.done, after.costs) == (plan.cells, [])
    assert verify.run([str(folder)]) == 0


def test_what_is_done_is_neither_computed_nor_changed(run: Runs) -> None:
    grid = ["certify=all", "certify.n_samples=24", "attack.eps=[0,0.1]", "certify.sigma=[12,25]", "certify.pictures=1"]
    first = run(*grid)
    again = run(*grid)
    assert run.images == PROBES
    pd.testing.assert_frame_equal(rows(again), rows(first))

    def files(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("*s/*") if p.parent.name != "report"}

    assert (
        len(files(first)) == 2 * 2 * 2 + 2 * 2 * 2
    )  # certificates of images and ratios; pictures of ratios, eps and sigma
    assert files(again) == files(first)
    record = json.loads((again / "run.json").read_text())
    assert record["cells"] == {"cells cached": 4}


def test_certificates_that_are_taken_over_name_this_runs_weights(run: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """They are those of another file with the same weights; and they verify."""
    grid = ["certify=all", "certify.n_samples=24", "attack.eps=0.1", "certify.sigma=25", "data.limit=1"]
    run(*grid)
    other = run.folder / "moved.ckpt"
    other.write_bytes((run.folder / "some.ckpt").read_bytes())
    again = run(*grid, f"ckpt={other}")
    assert run.images == PROBES
    for path in again.glob("certificates/*.json"):
        assert json.loads(path.read_text())["estimator"]["checkpoint"] == str(other)
    assert verify.run([str(again)]) == 0, capsys.readouterr().out


def test_a_sweep_over_sigma_attacks_once_and_one_over_eps_draws_once(run: Runs) -> None:
    grid = ["certify=error", "certify.n_samples=24"]
    run(*grid, "attack.eps=0.1", "certify.sigma=12")
    plan = run.plan(*grid, "attack.eps=0.1", "certify.sigma=25")
    assert [(c.kind, c.cached) for c in plan.costs] == [("attack", True), ("draws", False), ("rest", False)] * 4
    plan = run.plan(*grid, "attack.eps=0.2", "certify.sigma=12")
    assert [(c.kind, c.cached) for c in plan.costs] == [("attack", False), ("draws", True), ("rest", False)] * 4
    # Rows of one experiment: no cell twice, whatever grids its runs had.
    other = run(*grid, "attack.eps=[0.1,0.2]", "certify.sigma=12")
    assert rows(other)["run_id"].nunique() == 1
    assert set(rows(other)["run_id"]) == set(rows(run.folder / "1")["run_id"])


@pytest.mark.parametrize(
    ("change", "attacks", "draws"),
    [
        ("attack.n_iter=4", False, True), ("attack.init=sphere", False, True), ("attack=apgd", False, True),
        ("attack.check_samples=6", True, True), ("certify.confidence=0.9", True, True),
        ("certify.quantile=0.4", True, True), ("certificate.units=paper", True, True),
        ("certify.n_samples=30", True, False), ("certify.chunk_size=5", True, False), ("seed=1", False, False),
        ("operator.seed=1", False, False), ("data.crop=36", False, False), ("operator.sigma_b=1", False, False),
    ],
)  # fmt: skip
def test_other_settings_are_other_cells(run: Runs, change: str, attacks: bool, draws: bool) -> None:
    """What of them the change has no effect on is used again."""
    grid = ["certify=error", "certify.n_samples=24", "attack.eps=0.1", "certify.sigma=25", "operator.ratio=0.1"]
    run(*grid)
    plan = run.plan(*grid, change, *(["attack.eps=0.1", "attack.n_iter=3"] if change == "attack=apgd" else []))
    assert plan.done == 0
    kept = {kind: {cost.cached for cost in plan.costs if cost.kind == kind} for kind in ("attack", "draws")}
    assert kept == {"attack": {attacks}, "draws": {draws}}


def test_noise_of_another_seed_is_the_same_where_there_is_none(run: Runs) -> None:
    grid = ["certify=error", "certify.n_samples=24", "attack.eps=0.1", "certify.sigma=25", "operator.ratio=0.1"]
    run(*grid)
    assert run.plan(*grid, "operator.noise_seed=1").done == 2


def test_pictures_are_made_for_cells_that_had_none(run: Runs) -> None:
    grid = ["certify=error", "certify.n_samples=24", "attack.eps=0.1", "certify.sigma=25", "data.limit=1"]
    assert not (run(*grid, "certify.pictures=0") / "pictures").exists()
    assert len(list((run(*grid, "certify.pictures=1") / "pictures").iterdir())) == 2  # ratios
    assert len(list((run(*grid, "certify.pictures=1") / "pictures").iterdir())) == 2
    assert run.images == PROBES


def test_cells_that_are_taken_over_belong_to_the_run_that_does(run: Runs) -> None:
    grid = ["certify=error", "certify.n_samples=24", "attack.eps=0.1", "certify.sigma=25"]
    first, more = run(*grid, "data.limit=1"), run(*grid, "data.limit=2")
    assert rows(more)["run_id"].nunique() == 1  # other images: another experiment
    assert set(rows(more)["run_id"]) != set(rows(first)["run_id"])


def test_the_operator_counts_where_the_measurements_are_the_same(run: Runs) -> None:
    from invsmooth.attacks import PGD
    from invsmooth.cache import Store
    from invsmooth.certificates.error import Error
    from invsmooth.evaluation.result_cache import ResultCache
    from invsmooth.evaluation.settings import Evaluation
    from invsmooth.operators import BlockGaussian
    from invsmooth.operators.measurement import Measured, Setting
    from invsmooth.records.rows import Declared

    evaluation = Evaluation(eps=[0.1], sigma=[0.1], attack=PGD(n_iter=1), certifiers=[Error()], n_samples=30)
    cache = ResultCache(Store(run.folder), {}, evaluation, {}, Declared())
    nothing = torch.zeros(1, 1, 16, 16)
    y = torch.zeros(1, 4, 32)
    made = [Measured(Setting(BlockGaussian(0.5, block=8, seed=s), 0.5, 0.0), ["a"], nothing, y, y) for s in (0, 0, 1)]
    keys = [cache.key(measured, 0) for measured in made]
    assert keys[0] == keys[1] != keys[2]


def test_other_weights_and_another_architecture_are_others(run: Runs) -> None:
    grid = ["certify=error", "certify.n_samples=24", "attack.eps=0.1", "certify.sigma=25"]
    first = run(*grid)
    with torch.no_grad():
        run.net.phases[0].tail_conv.weight[0, 0, 0, 0] += 1e-3
    assert run.plan(*grid).done == 0
    second = run(*grid)
    assert set(rows(first)["run_id"]) != set(rows(second)["run_id"])
    run.net.some_setting = 3
    assert run.plan(*grid).done == 0
    del run.net.some_setting
    assert run.plan(*grid).done == 4
    run.net.register_forward_hook(lambda net, arguments, x_hat: 0.5 * x_hat)
    assert run.plan(*grid).done == 0


def test_a_sum_counts_what_jobs_share_once(run: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    grid = ["certify=error", "certify.n_samples=24", "attack.eps=0.1"]
    jobs = [run.plan(*grid, f"certify.sigma={sigma}") for sigma in (12, 25)]
    print_plans(jobs)
    shown = capsys.readouterr().out
    attacks = sum(c.evals for c in jobs[0].costs if c.kind == "attack")
    total = sum(c.evals for job in jobs for c in job.costs)
    assert f"{total - attacks:,}" in shown
    assert f"{attacks:,}" in shown


@pytest.mark.parametrize("name", SETTINGS)
def test_passes_of_a_training_batch(tmp_path: Path, name: str) -> None:
    network = Gain() if name == "Certified" else None  # it needs a constant
    trained, runner = module(name, network, **SETTINGS[name]), trainer(tmp_path, 3)
    runner.fit(trained, datamodule=data())
    assert float(runner.callback_metrics["train/network_evals"]) == trained.evals_per_batch


def test_room_that_draws_take_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    costs = [Cost("draws", "one", 5, file_bytes=2**31), Cost("draws", "kept", 5, cached=True, file_bytes=2**33)]
    print_plans([JobPlan("a job", 1, 0, 0, "", costs)])
    assert "temporary file of up to 2.0 GiB" in " ".join(capsys.readouterr().out.split())
