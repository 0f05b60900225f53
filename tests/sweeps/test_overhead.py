"""The time of a plan beside the passes of the network."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from invsmooth.attacks import PGD
from invsmooth.certificates import Discrepancy, Error
from invsmooth.evaluation.job_plan import Cost, JobPlan, print_plans, read_plan, write_plan
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import Identity
from invsmooth.operators.measurement import Setting, measure
from invsmooth.pipeline import overhead

EVALUATION = Evaluation(
    eps=[0.01 * k for k in range(1, 9)], sigma=[0.1, 0.2, 0.3], attack=PGD(n_iter=1), certifiers=[Error(), Discrepancy()],
    n_samples=1000,
)  # fmt: skip
MEASURED = measure(Setting(Identity(), 1.0, 0.0), ["a"], torch.rand(1, 1, 8, 8))


def test_the_cells_that_are_tried_are_few_and_spread() -> None:
    few = overhead.few_cells(EVALUATION, 5)
    assert few.eps == [0.01, 0.03, 0.05, 0.06, 0.08]
    assert (few.sigma, few.n_samples) == ([0.1, 0.2, 0.3], overhead.DRAWS)
    one = dataclasses.replace(EVALUATION, eps=[0.1], sigma=[], n_samples=3)
    assert overhead.few_cells(one, 5) == one
    assert overhead.few_cells(EVALUATION, 1).cells == [(0.01, 0.1)]


@pytest.mark.parametrize("cached", [True, False])
def test_the_time_of_all_cells_is_that_of_some_times_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cached: bool
) -> None:
    """And nothing stays of it: no file, no line in the log."""
    clock = iter([10.0, 13.0])
    monkeypatch.setattr(overhead, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    files: list[int] = []
    real = overhead.evaluate_image

    def evaluated(*arguments: Any, **options: Any) -> object:
        found = real(*arguments, **options)
        files.append(sum(p.is_file() for p in tmp_path.rglob("*")))
        return found

    monkeypatch.setattr(overhead, "evaluate_image", evaluated)
    with caplog.at_level(logging.INFO):
        seconds = overhead.seconds_of_cells(EVALUATION, MEASURED, tmp_path / "cache" if cached else None)
    assert seconds == pytest.approx(3.0 * (8 * 3) / (5 * 3))
    assert [n > 5 for n in files] == [False, cached]  # the first one warms up
    assert list(tmp_path.iterdir()) == []
    assert not caplog.text


def test_a_part_that_refuses_the_stand_in_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*arguments: Any, **options: Any) -> object:
        raise RuntimeError("not for this network")

    monkeypatch.setattr(overhead, "evaluate_image", refuses)
    assert overhead.seconds_of_cells(EVALUATION, MEASURED, None) == 0


def test_the_start_of_a_job_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = JobPlan("a job", 1, 0, 0, "", [Cost("draws", "one", 5, seconds=20.0)], start=3.5)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    print_plans([plan, dataclasses.replace(plan, name="another")])  # shares the draws
    out = capsys.readouterr().out
    assert [word in out for word in ("23.5 s", "3.5 s", "27 s")] == [True] * 3
