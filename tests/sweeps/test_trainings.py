"""Trainings that are taken over, go on, or are others."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from copy import deepcopy
from functools import cache as cached
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from invsmooth.cache.content import file_key
from invsmooth.config import schema
from invsmooth.pipeline import keys
from invsmooth.pipeline import run as pipeline
from invsmooth.training import ReconstructionModule
from invsmooth.training import fit as training
from invsmooth.training.kept_trainings import Training, read_curve
from tests.sweeps.test_plan import TINY

TRAIN = ["certify.n_samples=10", "attack.eps=0", "certify.sigma=25", "task.n_patches=20", "task.batch_size=4",
         "trainer.max_epochs=3", "operator.ratio=0.1", "certify.pictures=0", "certify.files=false",
         "task.schedule=cosine"]  # fmt: skip


class Killed(BaseException):
    """In place of SIGKILL, in a process that goes on."""


@cached
def composed(*overrides: str) -> DictConfig:
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return compose("train", [*TINY, *TRAIN, *overrides])


def train(folder: Path, *overrides: str, cache: Path | None = None) -> Path:
    folder.mkdir()
    cfg = deepcopy(composed(*overrides))
    cfg.cache = str(cache or folder.parent / "cache")
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


def begins_anew(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> None:
    """There is nothing that the training takes over or goes on from. It ends at its first batch."""
    killed_at(monkeypatch, 0)
    with pytest.raises(Killed):
        train(folder, *overrides)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed; its cache is ``whole/../cache``."""
    return train(tmp_path_factory.mktemp("whole") / "whole")


SMT_GRAD = ["algo=smt_grad", "algo.n_samples=2", "algo.t_step=2"]


@pytest.fixture(scope="module")
def whole_smt_grad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("smt_grad") / "whole", *SMT_GRAD)


@pytest.mark.parametrize("algo", ["ord", "smt_grad"])
@pytest.mark.parametrize("moments", [[3], [5], [8, 13]])
def test_a_killed_training_goes_on(
    tmp_path: Path, monkeypatch, caplog, whole: Path, whole_smt_grad: Path, algo: str, moments: list[int]
) -> None:
    """In the first epoch (of 5 batches), at the end of one, twice in later ones: to the weights and the curve of a training
    that nothing disturbed."""
    options, expected = {"ord": ([], whole), "smt_grad": (SMT_GRAD, whole_smt_grad)}[algo]
    with caplog.at_level(logging.INFO):
        for batch in moments:
            with monkeypatch.context() as patch:
                killed_at(patch, batch)
                with pytest.raises(Killed):
                    train(tmp_path / f"killed at {batch}", *options)
        resumed = train(tmp_path / "resumed", *options)
    assert [5 * (m // 5) for m in moments if m >= 5] == [r.args[0] for r in caplog.records if "goes on after" in r.msg]
    assert not taken_over(resumed)
    assert_same(resumed, expected)
    again = train(tmp_path / "again", *options)
    assert taken_over(again)
    assert_same(again, expected)


def test_the_last_weights_are_saved_where_validation_gets_worse(tmp_path: Path, monkeypatch, caplog) -> None:
    options = [*SMT_GRAD, "task.learning_rate=2e-3"]
    whole = train(tmp_path / "whole", *options, cache=tmp_path / "other")
    seen = {
        n: torch.load(whole / "checkpoints" / f"{n}.ckpt", weights_only=True)["batches_seen"] for n in ("best", "last")
    }
    assert seen == {"best": 5, "last": 15}, "for this test the first epoch has to be the best"
    with monkeypatch.context() as patch:
        killed_at(patch, 13)
        with pytest.raises(Killed):
            train(tmp_path / "killed", *options)
    with caplog.at_level(logging.INFO):
        resumed = train(tmp_path / "resumed", *options)
    assert_same(resumed, whole)
    assert [r.args[0] for r in caplog.records if "goes on after" in r.msg] == [10]


def test_saved_within_an_epoch(tmp_path: Path, whole: Path, monkeypatch) -> None:
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
def test_other_settings_are_other_trainings(tmp_path: Path, whole: Path, monkeypatch, change: str) -> None:
    training_in(whole.parent / "cache", tmp_path / "cache")
    begins_anew(monkeypatch, tmp_path / "second", change)


@pytest.mark.parametrize(
    "change", ["operator.ratio=0.2", "attack.eps=0.1", "certify=error", "operator.sigma_b=1", "data.crop=36"]
)
def test_what_is_tested_does_not_change_the_training(tmp_path: Path, whole: Path, change: str) -> None:
    training_in(whole.parent / "cache", tmp_path / "cache")
    assert taken_over(train(tmp_path / "second", change, "data.val_crop=33"))


def test_damaged_training_is_done_again(tmp_path: Path, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    best = training_in(whole.parent / "cache", tmp_path / "cache") / "checkpoints" / "best.ckpt"
    content = best.read_bytes()
    best.write_bytes(content[:-20])
    second = train(tmp_path / "second")
    assert "is damaged" in caplog.text
    assert not taken_over(second)
    assert_same(second, whole)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a training that was killed in its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 8)
        with pytest.raises(Killed):
            train(folder / "run")
    return folder / "cache"


def training_in(cache: Path, copy: Path) -> Path:
    """The folder of the one training of a cache, which is copied."""
    shutil.copytree(cache, copy)
    (folder,) = (copy / "trainings").iterdir()
    return folder


def whole_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"nothing")


def another_network(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {"estimator.weight": torch.zeros(3)}
    torch.save(content, path)


def only_weights(path: Path) -> None:
    torch.save({"state_dict": torch.load(path, weights_only=True)["state_dict"]}, path)


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "below").mkdir(parents=True)


def edit(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


NO_CHECKPOINT: dict[str, Callable[[Path], object]] = {
    "zip": whole_zip, "network": another_network, "weights": only_weights, "folder": a_folder,
    "half": edit(lambda b: b[: len(b) // 2]),
}  # fmt: skip


@pytest.mark.parametrize("damage", NO_CHECKPOINT.values(), ids=NO_CHECKPOINT.keys())
def test_no_checkpoint_to_go_on_from(whole: Path, killed: Path, tmp_path: Path, caplog, damage) -> None:
    damage(training_in(killed, tmp_path / "cache") / "checkpoints" / "last.ckpt")
    with caplog.at_level(logging.INFO):
        assert_same(train(tmp_path / "again"), whole)
    assert "goes on after" not in caplog.text
    if damage is not a_folder:
        assert "last.ckpt is damaged and not used" in caplog.text


@pytest.mark.parametrize("damage", [Path.unlink, whole_zip, a_folder], ids=["gone", "zip", "folder"])
def test_the_best_weights_so_far_are_needed(whole: Path, killed: Path, tmp_path: Path, caplog, damage) -> None:
    damage(training_in(killed, tmp_path / "cache") / "checkpoints" / "best.ckpt")
    assert_same(train(tmp_path / "again"), whole)
    assert "best.ckpt is damaged or gone" in caplog.text


@pytest.mark.parametrize(
    "change",
    [lambda b: b"", lambda b: b[:-5], lambda b: b"\0\xff\n", lambda b: b"a,b\n1,2\n",
     lambda b: b"epoch,step\n1"],
    ids=["empty", "half a line", "garbage", "other columns", "cut off in its first line"],
)  # fmt: skip
def test_a_damaged_curve_costs_the_curve_alone(whole: Path, killed: Path, tmp_path: Path, caplog, change) -> None:
    (path,) = training_in(killed, tmp_path / "cache").glob("metrics/*/metrics.csv")
    edit(change)(path)
    (path.parents[1] / "notes").mkdir()
    (path.parents[1] / "notes" / "metrics.csv").touch()
    with caplog.at_level(logging.INFO):
        resumed = train(tmp_path / "resumed")
    assert "goes on after 5 batches" in caplog.text
    assert f"{path} is damaged" in caplog.text or f"{path} ends within a line" in caplog.text
    for name in ("best", "last"):  # although the cache is in another place now
        assert all(torch.equal(v, weights(whole, name)[k]) for k, v in weights(resumed, name).items())
    last = curve(whole).iloc[-1]
    pd.testing.assert_series_equal(curve(resumed).iloc[-1], last, check_names=False)
    caplog.clear()
    assert taken_over(train(tmp_path / "again"))


def test_the_whole_lines_of_a_curve_that_was_cut_off_count(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,train/loss\n0,1,0.5\n0,2,0.25\n0,3,0.1")  # of 0.125, say
    assert read_curve(path).to_numpy().tolist() == [[0, 1, 0.5], [0, 2, 0.25]]


def other_hash(path: Path) -> None:
    """A whole training, but for checkpoints that are none."""
    for checkpoint in path.parent.glob("checkpoints/*.ckpt"):
        whole_zip(checkpoint)
    hashes = {p.name: file_key(p) for p in path.parent.glob("checkpoints/*.ckpt")}
    path.write_text(json.dumps(hashes))


def other_name(path: Path) -> None:
    outside = path.parents[1] / "x"
    outside.touch()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"../../x": file_key(outside)}))


def no_folder(path: Path) -> None:
    shutil.rmtree(path.parent / "checkpoints")
    (path.parent / "checkpoints").touch()


def emptied(path: Path) -> None:
    """As nothing is there, nothing disagrees."""
    path.write_text("{}")
    for checkpoint in path.parent.glob("checkpoints/*.ckpt"):
        checkpoint.unlink()


NOT_DONE: dict[str, Callable[[Path], object]] = {
    "list": edit(lambda b: b'["best.ckpt"]'), "nothing": edit(lambda b: b"{}"), "garbage": edit(lambda b: b"\xff"),
    "other name": other_name, "folder": a_folder, "no checkpoints": other_hash,
    "checkpoints are a file": no_folder, "empty": emptied,
    "best is gone": lambda path: (path.parent / "checkpoints" / "best.ckpt").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("damage", NOT_DONE.values(), ids=NOT_DONE.keys())
def test_a_training_that_is_not_whole_is_done_again(whole: Path, tmp_path: Path, caplog, damage) -> None:
    damage(training_in(whole.parent / "cache", tmp_path / "cache") / "done.json")
    again = train(tmp_path / "again")
    assert "is damaged (done.json and the checkpoints do not agree)" in caplog.text
    assert not taken_over(again)
    assert_same(again, whole)


def test_a_file_in_the_place_of_a_training(tmp_path: Path, whole: Path) -> None:
    folder = training_in(whole.parent / "cache", tmp_path / "cache")
    shutil.rmtree(folder)
    folder.touch()
    assert_same(train(tmp_path / "again"), whole)
    (folder / "lock").unlink(missing_ok=True)
    (folder / "lock").mkdir()
    assert taken_over(train(tmp_path / "third"))


def test_checkpoints_of_a_run_are_its_own(whole: Path, tmp_path: Path) -> None:
    """What is done to them does not reach the cache, nor other runs."""
    training_in(whole.parent / "cache", tmp_path / "cache")
    first = train(tmp_path / "first")
    best = first / "checkpoints" / "best.ckpt"
    with best.open("r+b") as opened:
        opened.write(b"changed")
    second = train(tmp_path / "second")
    assert taken_over(second)
    assert_same(second, whole)


@pytest.mark.parametrize("changed", ["package_key", "code_of"])
def test_other_code_is_another_training(tmp_path: Path, whole: Path, monkeypatch, changed: str) -> None:
    """This package's, and that which the algorithm comes from."""
    training_in(whole.parent / "cache", tmp_path / "cache")
    monkeypatch.setattr(keys, changed, lambda *names: "other")
    begins_anew(monkeypatch, tmp_path / "again")
