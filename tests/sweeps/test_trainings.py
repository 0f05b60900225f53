"""Trainings that are taken over, go on, or are others."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module

from invsmooth import pipeline, schema, training
from invsmooth.algorithms import ReconstructionModule
from invsmooth.cache import Training
from tests.sweeps.test_plan import TINY

TRAIN = ["certify.n_samples=10", "attack.eps=0", "certify.sigma=25", "task.n_patches=20", "task.batch_size=4",
         "trainer.max_epochs=3", "certify.pictures=0", "certify.files=false", "task.schedule=cosine"]  # fmt: skip


class Killed(BaseException):
    """In place of SIGKILL, in a process that goes on."""


def train(folder: Path, *overrides: str, cache: Path | None = None) -> Path:
    folder.mkdir()
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose("train", [*TINY, *TRAIN, f"cache={cache or folder.parent / 'cache'}", *overrides])
    pipeline.train_and_evaluate(cfg, folder)
    return folder


def taken_over(folder: Path) -> bool:
    found: bool = json.loads((folder / "run.json").read_text())["training"]["taken_over"]
    return found


def curve(folder: Path) -> pd.DataFrame:
    logged = pd.read_csv(folder / "metrics.csv")
    return logged[["epoch", "step", "train/loss", "val/psnr"]].dropna(thresh=3).reset_index(drop=True)


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def assert_same(folder: Path, other: Path) -> None:
    for name in ("best", "last"):
        own = weights(folder, name)
        assert all(torch.equal(v, own[k]) for k, v in weights(other, name).items())
    pd.testing.assert_frame_equal(curve(folder), curve(other))


def killed_at(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    step = ReconstructionModule.training_step

    def failing(self: ReconstructionModule, x: torch.Tensor, batch_idx: int) -> None:
        if self.batches_seen == batch:
            raise Killed
        step(self, x, batch_idx)

    monkeypatch.setattr(ReconstructionModule, "training_step", failing)


@pytest.mark.parametrize("algo", ["ord", "smt_grad"])
@pytest.mark.parametrize("moments", [[3], [5], [8, 13]])
def test_a_killed_training_goes_on(tmp_path: Path, monkeypatch, caplog, algo: str, moments: list[int]) -> None:
    """In the first epoch (of 5 batches), at the end of one, twice in later ones: to the weights and the curve of a training
    that nothing disturbed."""
    options = [f"algo={algo}"] + (["algo.n_samples=2", "algo.t_step=2"] if algo == "smt_grad" else [])
    whole = train(tmp_path / "whole", *options, cache=tmp_path / "other")
    with caplog.at_level(logging.INFO):
        for batch in moments:
            with monkeypatch.context() as patch:
                killed_at(patch, batch)
                with pytest.raises(Killed):
                    train(tmp_path / f"killed at {batch}", *options)
        resumed = train(tmp_path / "resumed", *options)
    assert [5 * (m // 5) for m in moments if m >= 5] == [r.args[0] for r in caplog.records if "goes on after" in r.msg]
    assert not taken_over(resumed)
    assert_same(resumed, whole)
    again = train(tmp_path / "again", *options)
    assert taken_over(again)
    assert_same(again, whole)


def test_saved_within_an_epoch(tmp_path: Path, monkeypatch) -> None:
    whole = train(tmp_path / "whole", cache=tmp_path / "other")
    monkeypatch.setattr(training, "SAVE_EVERY", training.timedelta(microseconds=1))
    with monkeypatch.context() as patch:
        killed_at(patch, 7)
        with pytest.raises(Killed):
            train(tmp_path / "killed")
    (folder,) = (tmp_path / "cache" / "trainings").iterdir()
    last = Training(tmp_path / "cache", folder.name).latest()
    assert last is not None
    assert torch.load(last, weights_only=True)["batches_seen"] in (6, 7)
    assert_same(train(tmp_path / "resumed"), whole)


@pytest.mark.parametrize(
    "change",
    ["seed=1", "algo.compute_match=smt_grad", "task.learning_rate=1e-3", "operator.train_ratio=[0.1]",
     "estimator.channels=5", "trainer.max_epochs=2",
     "data.augment=false", "operator.noise_seed=1", "data.limit=1"],
)  # fmt: skip
def test_other_settings_are_other_trainings(tmp_path: Path, change: str) -> None:
    train(tmp_path / "first")
    assert not taken_over(train(tmp_path / "second", change))


@pytest.mark.parametrize(
    "change", ["operator.ratio=0.2", "attack.eps=0.1", "certify=error", "operator.sigma_b=1", "data.crop=36"]
)
def test_what_is_tested_does_not_change_the_training(tmp_path: Path, change: str) -> None:
    train(tmp_path / "first")
    assert taken_over(train(tmp_path / "second", change, "data.val_crop=33"))


def test_damaged_training_is_done_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(tmp_path / "first")
    (best,) = (tmp_path / "cache").glob("trainings/*/checkpoints/best.ckpt")
    content = best.read_bytes()
    best.unlink()
    best.write_bytes(content[:-20])
    second = train(tmp_path / "second")
    assert "is damaged" in caplog.text
    assert not taken_over(second)
    assert_same(second, first)
