"""What an evaluation says of itself."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from invsmooth.attacks import PGD, attack
from invsmooth.evaluation.watch import EvaluationWatch
from invsmooth.lipschitz.constants import in_float64
from invsmooth.operators import Identity
from invsmooth.operators.measurement import Setting, measure
from tests.core.test_progress import FakeClock
from tests.training.toys import Gain


class Slow(Gain):
    """A pass takes a second for each image, or three with a gradient."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, y: torch.Tensor, operator: Any) -> torch.Tensor:
        self.clock.now += len(y) * (3 if torch.is_grad_enabled() else 1)
        return super().forward(y, operator)


@pytest.fixture
def parts() -> tuple[FakeClock, Slow, Any]:
    clock = FakeClock()
    setting = Setting(Identity(), 1.0, 0.1)
    return clock, Slow(clock), measure(setting, ["boats"], torch.rand(1, 1, 8, 8))


def run(watch: EvaluationWatch, estimator: Slow, measured: Any) -> None:
    operator = measured.setting.operator
    watch.doing("attack at eps = 0.1")
    attack(PGD(n_iter=100, step_size=0.01), estimator, operator, measured.x, measured.b, eps=0.1)
    watch.doing("certify clean at sigma = 25")
    with torch.no_grad():
        for _ in range(200):
            estimator(measured.y, operator)


def test_lines_say_what_is_done_and_for_how_long(parts) -> None:
    """Passes with a gradient count three times: the time left is right throughout."""
    clock, estimator, measured = parts
    told: list[tuple[float, float, str]] = []
    watch = EvaluationWatch(expected=lambda m, number: 3 * 100 + 4 + 200, clock=clock)
    watch.start(estimator, 3)
    watch.heart.tell = lambda line: told.append((clock.now, watch.left, line))
    watch.image(measured, 0)
    run(watch, estimator, measured)
    end = clock.now
    watch.image_done(cached=False)
    assert 7 <= len(told) <= 9
    for now, left, _ in told:
        assert now + left == pytest.approx(end, abs=6)
    assert told[0][2].startswith("image 1 of 3 (boats, ")
    assert "attack at eps = 0.1, " in told[0][2]
    assert "left for this image; 2" in told[0][2]
    assert "certify clean at sigma = 25, " in told[-1][2]
    watch.image_done(cached=True)
    watch.image(measured, 2)
    assert watch.line().startswith("image 3 of 3 (boats, ")
    watch.stop()
    assert not estimator._forward_pre_hooks


def test_a_part_that_cannot_tell_its_cost_works_all_the_same(parts) -> None:
    clock, estimator, measured = parts
    watch = EvaluationWatch(expected=lambda m, number: 1 / 0, clock=clock)
    watch.start(estimator, 1)
    watch.image(measured, 0)
    run(watch, estimator, measured)
    assert "evaluations so far" in watch.line()
    assert "left" not in watch.line()


def test_a_bar_moves_within_an_image(parts) -> None:
    clock, estimator, measured = parts
    moves: list[tuple[str, float, float]] = []
    bar: Any = SimpleNamespace(is_seen=True, inner=lambda *what: moves.append(what))
    watch = EvaluationWatch(bar, clock=clock)
    watch.start(estimator, 1)
    watch.image(measured, 0)
    run(watch, estimator, measured)
    assert len(moves) > 250
    assert moves[50][0] == "Image 1: attack at eps = 0.1, evaluations"
    assert moves[50][2] == math.inf


def test_copies_of_the_estimator_do_not_copy_the_run(parts) -> None:
    _, estimator, _ = parts
    watch = EvaluationWatch()
    watch.start(estimator, 1)
    (hook,) = in_float64(copy.deepcopy(estimator))._forward_pre_hooks.values()
    assert hook is watch
