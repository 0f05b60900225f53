"""Estimates and lines, with a clock that the tests move."""

from __future__ import annotations

import math

import pytest

from invsmooth.core.progress import EVERY, Heartbeat, Speed, count, duration


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.2, "under 1 s"), (40, "40 s"), (100, "1.7 min"), (720, "12 min"), (12600, "3.5 h"), (2e6, "23 days"),
        (3e8, "9.5 years"), (math.nan, "unknown"), (math.inf, "unknown"),
    ],
)  # fmt: skip
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_thousands() -> None:
    assert count(15700.4) == "15 700"


def test_speed_leaves_out_the_warm_up_and_pauses() -> None:
    clock = FakeClock()
    speed = Speed(clock, skipped=2)
    speed.start()
    for seconds in (50, 90, 2, 2):
        clock.now += seconds
        speed.done(10)
    clock.now += 7777
    speed.start()
    clock.now += 4
    speed.done(20)
    assert speed.per_unit == pytest.approx(8 / 40)
    assert math.isnan(Speed(clock).per_unit)


def test_a_line_a_minute_and_ten_movements_a_second() -> None:
    clock, lines, moves = FakeClock(), list[str](), list[float]()
    heart = Heartbeat(lambda: f"at {clock.now:.0f}", lambda: moves.append(clock.now), clock, lines.append)
    for _ in range(20_001):
        clock.now += 0.01
        heart.beat()
    assert lines == ["at 1060", "at 1120", "at 1180"]
    assert 1800 <= len(moves) <= 2000
    quiet = Heartbeat(None, None, clock, lines.append)
    clock.now += 10 * EVERY
    quiet.beat()
    assert len(lines) == 3
