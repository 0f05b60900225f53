"""What a training says of itself, and what is left of it when it is interrupted."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch

from invsmooth.core.signals import SIGNALS, Interrupted
from invsmooth.records.curve import Curve
from invsmooth.training import fit as fitting
from invsmooth.training.fit import SaveUnderway, how_to_go_on
from invsmooth.training.kept_trainings import UNDERWAY
from invsmooth.training.stop_after import StopAfterBatches
from invsmooth.training.watch import TrainingWatch
from tests.core.test_progress import FakeClock
from tests.training.toys import SETTINGS, Gain, data, module, trainer


class Slow(Gain):
    """A forward pass takes ``seconds`` of a clock for each image; the first one ten times as long."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds, self.calls = clock, seconds, 0

    def forward(self, y: torch.Tensor, operator: Any) -> torch.Tensor:
        self.calls += 1
        self.clock.now += self.seconds * len(y) * (10 if self.calls == 1 else 1)
        return super().forward(y, operator)


@pytest.fixture(autouse=True)
def _no_signal() -> Iterator[None]:
    yield
    SIGNALS.uninstall()


def train(folder: Path, name: str, seconds: float, bar: Any = None, **own: Any) -> tuple[TrainingWatch, FakeClock]:
    clock = FakeClock()
    watch = TrainingWatch(6, 4, "algo=ord", bar, clock)
    runner = trainer(folder, 6)
    runner.callbacks.append(watch)  # type: ignore[attr-defined]
    runner.fit(module(name, Slow(clock, seconds), **SETTINGS[name] | own), datamodule=data())
    return watch, clock


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "invsmooth.training.watch"]


@pytest.mark.parametrize(("name", "evals"), [("Ord", 1), ("Adv", 4), ("SmtGrad", 6)])
def test_the_estimate_is_what_it_takes(tmp_path: Path, caplog, monkeypatch, name: str, evals: int) -> None:
    """6 batches of 4 patches; the first pass, which takes ten times as long, misleads nobody."""
    caplog.set_level(logging.INFO)
    told: list[float] = []
    left = TrainingWatch.left.fget  # type: ignore[attr-defined]
    estimate = TrainingWatch.estimate

    def spied(self: TrainingWatch) -> None:
        estimate(self)
        if self.estimated and not told:
            told.extend([self.clock(), left(self)])

    monkeypatch.setattr(TrainingWatch, "estimate", spied)
    _, clock = train(tmp_path, name, 0.5)
    said = [line for line in lines(caplog) if line.startswith("estimate: this training takes ")]
    assert len(said) == 1
    assert f"batches of {2 * evals} s)" in said[0]
    assert "Faster" not in said[0]
    validation = 3 * 0.5  # three images, after five batches
    assert told[0] + told[1] + validation == pytest.approx(clock.now, abs=2 * 0.5 * 4)


def test_a_long_training_is_told_what_is_faster(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    train(tmp_path, "Adv", 200)
    (told,) = (line for line in lines(caplog) if line.startswith("estimate: this training takes 4.9 h"))
    assert told.endswith("(6 batches of 53 min), its validation not counted; the evaluation follows. Faster: algo=ord")


def test_a_line_a_minute_within_a_batch(tmp_path: Path, caplog) -> None:
    """A batch takes 16 passes of 2 minutes. There is a line at each of them."""
    caplog.set_level(logging.INFO)
    train(tmp_path, "Adv", 30, n_iter=15)
    told = lines(caplog)
    assert "batch 1 of 6, inner step 2 of 16, about 3.1 h left" in told
    third = [line for line in told if line.startswith("batch 3 of 6")]
    assert len(third) == 16
    assert third[6].startswith("batch 3 of 6, inner step 7 of 16, loss of the last batch ")
    assert third[6].endswith(", about 1.9 h left")
    assert third[15].startswith("batch 3 of 6 is done, loss")
    assert "validation after batch 5 of 6" in told


def test_a_bar_moves_within_a_batch(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    moves: list[tuple[str, float, float]] = []
    bar = SimpleNamespace(is_seen=True, inner=lambda *what: moves.append(what))
    train(tmp_path, "Adv", 1, bar, n_iter=15)
    assert ("Batch 2, inner steps", 9, 16) in moves
    assert len(lines(caplog)) == 1  # the estimate


def interrupted(folder: Path, name: str, batch: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trained until a signal comes in a batch (from 0), before a forward pass of it."""
    runner, trained = trainer(folder, 9), module(name, **SETTINGS[name])
    save, watch = SaveUnderway(folder / UNDERWAY), TrainingWatch(9, 4)
    runner.callbacks[:0] = [watch, save]  # type: ignore[attr-defined]
    inner, seen = watch.inner, [0]

    def signalled() -> None:
        seen[0] = seen[0] + 1 if trained.batches_seen == batch and watch.in_batch else 0
        if seen[0] == passes:
            SIGNALS.pending = signal.SIGTERM
        inner()

    monkeypatch.setattr(watch, "inner", signalled)
    with pytest.raises(Interrupted):
        runner.fit(trained, datamodule=data())
    return trained


@pytest.mark.parametrize("batch", [2, 3])
def test_the_curve_of_an_interrupted_training_has_every_batch_that_is_kept(tmp_path: Path, batch: int) -> None:
    """A signal that comes in the middle of a short batch waits for its end."""

    class Signal(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
            if module.batches_seen == batch:
                SIGNALS.pending = signal.SIGTERM

    runner = L.Trainer(
        accelerator="cpu", max_epochs=10, logger=Curve(tmp_path, flush_every=1), log_every_n_steps=1,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[Signal(), SaveUnderway(tmp_path / UNDERWAY), StopAfterBatches(9)],
    )  # fmt: skip
    with pytest.raises(Interrupted):
        runner.fit(module("Ord", **SETTINGS["Ord"]), datamodule=data())
    seen = torch.load(tmp_path / UNDERWAY, weights_only=True)["batches_seen"]
    curve = pd.read_csv(tmp_path / "metrics.csv")
    assert seen == batch + 1
    assert list(curve["train/batch"]) == list(range(1, seen + 1))


def resumed_equals_whole(folder: Path, name: str) -> None:
    found = []
    for resume in (None, folder / UNDERWAY):
        trained = module(name, **SETTINGS[name])
        trainer(folder, 9).fit(trained, datamodule=data(), ckpt_path=resume)
        found.append(trained.estimator.state_dict())
    assert all(torch.equal(v, found[1][k]) for k, v in found[0].items())


@pytest.mark.parametrize("name", ["Adv", "SmtAdv"])
@pytest.mark.parametrize("batch", [3, 7])
def test_interrupted_in_a_long_batch(tmp_path: Path, monkeypatch, name: str, batch: int) -> None:
    """All batches before it are kept, and the training goes on as if nothing had been."""
    monkeypatch.setattr(fitting, "SHORT", 0.0)
    interrupted(tmp_path, name, batch, 3, monkeypatch)
    assert how_to_go_on(tmp_path, cached=True) == f"the same command goes on from batch {batch + 1}"
    SIGNALS.uninstall()
    resumed_equals_whole(tmp_path, name)


@pytest.mark.parametrize("name", ["Ord", "SmtGrad"])
def test_interrupted_in_a_short_batch(tmp_path: Path, monkeypatch, name: str) -> None:
    """It is finished, and kept."""
    monkeypatch.setattr(fitting, "SHORT", 1e9)
    interrupted(tmp_path, name, 3, 1, monkeypatch)
    assert how_to_go_on(tmp_path, cached=True) == "the same command goes on from batch 5"
    SIGNALS.uninstall()
    resumed_equals_whole(tmp_path, name)


def test_what_half_a_batch_changed_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    """The second of two updates of a batch: there is no state to go on from but the one saved before."""
    monkeypatch.setattr(fitting, "SHORT", 0.0)
    trained = interrupted(tmp_path, "SmtGrad", 3, 4, monkeypatch)
    assert trained.stepped
    assert not (tmp_path / UNDERWAY).exists()
    assert how_to_go_on(tmp_path, cached=True) == "no batch was kept; the same command starts the training again"


def test_the_counting_costs_nothing_to_speak_of(tmp_path: Path) -> None:
    """A small step takes 0.1 s and has some ten passes: microseconds each are far below a hundredth of it."""
    watch, _ = train(tmp_path, "Ord", 0.0)
    watch.clock, watch.in_batch = time.monotonic, True
    watch.speed.clock = watch.heart.clock = time.monotonic
    watch.heart.due = watch.heart.line_due = 1e18
    began = time.perf_counter()
    for _ in range(10_000):
        watch.inner()
    assert (time.perf_counter() - began) / 10_000 < 1e-4
