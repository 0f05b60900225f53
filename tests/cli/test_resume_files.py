"""``resume=`` with any file: one message before the run begins, exit code 2, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fuzz.overrides import TINY
from tests.processes import forked

pytestmark = pytest.mark.slow

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "INVSMOOTH_ROOT"} | {
    "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])
}  # fmt: skip
FIVE = [o for o in TINY if not o.startswith(("trainer.max_steps", "task.n_patches"))] + ["task.n_patches=4"]
"""A training of two batches in each of its epochs."""


def train(folder: Path, *overrides: str) -> tuple[int, str]:
    folder.mkdir()
    done = forked("train", *FIVE, *overrides, cwd=folder, env=ENVIRONMENT, timeout=120)
    return done.returncode, done.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training of one epoch."""
    folder = tmp_path_factory.mktemp("trained") / "a"
    code, said = train(folder, "trainer.max_epochs=1", "hydra.run.dir=run")
    assert code == 0, said
    return folder / "run" / "checkpoints" / "last.ckpt"


def with_entries(**entries: Any) -> Callable[[Path, Path], None]:
    def write(path: Path, checkpoint: Path) -> None:
        torch.save(torch.load(checkpoint, weights_only=True) | entries, path)

    return write


def picture(path: Path, checkpoint: Path) -> None:
    Image.new("L", (8, 8)).save(path, format="PNG")


def arrays(path: Path, checkpoint: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))


def truncated(path: Path, checkpoint: Path) -> None:
    path.write_bytes(checkpoint.read_bytes()[:-1000])


def one_bit(path: Path, checkpoint: Path) -> None:
    """Of the weights."""
    content = bytearray(checkpoint.read_bytes())
    weights = torch.load(checkpoint, weights_only=True)["state_dict"].values()
    bias = next(w for w in weights if w.ndim == 1 and len(w) > 1 and bool((w != 0).all()))
    content[content.index(bias.numpy().tobytes())] ^= 1
    path.write_bytes(content)


def moments(path: Path, checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    content["optimizer_states"][0]["state"][0]["exp_avg"] = torch.zeros(7)
    torch.save(content, path)


def weights_alone(path: Path, checkpoint: Path) -> None:
    torch.save(torch.load(checkpoint, weights_only=True)["state_dict"], path)


FILES: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "missing": (lambda path, _: None, "there is no such file"),
    "directory": (lambda path, _: path.mkdir(), "there is no such file"),
    "empty": (lambda path, _: path.write_bytes(b""), "cannot be read as a torch checkpoint"),
    "picture": (picture, "cannot be read as a torch checkpoint"),
    "npz": (arrays, "cannot be read as a torch checkpoint"),
    "truncated": (truncated, "cannot be read as a torch checkpoint"),
    "one bit": (one_bit, "does not fit its checksum"),
    "weights alone": (weights_alone, "to start from its weights use ckpt="),
    "loops": (with_entries(loops={"fit_loop": {}}), "its state is not that of such a training"),
    "optimizers": (with_entries(optimizer_states=[]), "optimizer_states has 0 entries instead of 1"),
    "schedulers": (with_entries(lr_schedulers=[]), "lr_schedulers has 0 entries instead of 1"),
    "moments": (moments, "optimizer_states has exp_avg of shape (7,)"),
    "callbacks": (with_entries(callbacks={"KeepBest": {}}), "its state is not that of such a training"),
    "version": (with_entries(**{"pytorch-lightning_version": "abc"}), "its state is not that of such a training"),
    "before the start": (with_entries(batches_seen=-1), "batches_seen, epoch and global_step are [-1"),
}


@pytest.mark.parametrize("name", [*FILES])
def test_what_is_no_checkpoint(name: str, checkpoint: Path, tmp_path: Path) -> None:
    write, message = FILES[name]
    write(tmp_path / "file.ckpt", checkpoint)
    code, said = train(tmp_path / "run", "trainer.max_epochs=2", f"resume={tmp_path / 'file.ckpt'}")
    assert code == 2, said
    assert said.startswith("error: ")
    assert "file.ckpt" in said
    assert message in said
    assert "Traceback" not in said
    assert not [*(tmp_path / "run").iterdir()]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.max_epochs=1"], "has had 2 batches, and this training has 2: nothing is left to train"),
        (["trainer.max_epochs=2", "trainer.max_steps=2"], "nothing is left to train"),
        (["trainer.max_epochs=2", "estimator.channels=3"], "has weights that do not fit"),
    ],
)
def test_a_checkpoint_of_another_training(
    overrides: list[str], message: str, checkpoint: Path, tmp_path: Path
) -> None:  # fmt: skip
    code, said = train(tmp_path / "run", *overrides, f"resume={checkpoint}")
    assert code == 2, said
    assert message in said
    assert "Traceback" not in said
    assert not [*(tmp_path / "run").iterdir()]


def test_a_whole_one_goes_on(checkpoint: Path, tmp_path: Path) -> None:
    code, said = train(tmp_path / "run", "trainer.max_epochs=2", f"resume={checkpoint}", "hydra.run.dir=run")
    assert code == 0, said
    went_on = torch.load(tmp_path / "run" / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert went_on["batches_seen"] == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algo=adv_small"], "algo.name=ord, not adv: give the values that it began with"),
        (["seed=5", "operator.train_sigma_b=3"], "seed=0 operator.train_sigma_b=0.0, not 5, 3"),
        (["scale=paper"], "scale=small, not paper"),
        (["operator.train_ratio=[0.1,0.2]"], "operator.train_ratio="),
    ],
)
def test_another_training_does_not_go_on(
    overrides: list[str], message: str, checkpoint: Path, tmp_path: Path
) -> None:  # fmt: skip
    code, said = train(tmp_path / "b", *overrides, f"resume={checkpoint}", "trainer.max_epochs=2")
    assert code == 2
    assert f"is of a training with {message}" in said
    assert not (tmp_path / "b" / "outputs").exists()


def test_another_batch_size_is_said(checkpoint: Path, tmp_path: Path) -> None:
    """It is not refused: on another number of devices it makes the same batches."""
    options = ("task.batch_size=1", "trainer.max_epochs=2", "hydra.run.dir=run")
    code, said = train(tmp_path / "d", *options, f"resume={checkpoint}")
    assert code == 0, said
    log = (tmp_path / "d" / "run" / "train.log").read_text()
    assert f"resume={checkpoint} began with task.batch_size=2 and goes on with 1" in log


def test_a_training_starts_from_a_run_folder(checkpoint: Path, tmp_path: Path) -> None:
    code, said = train(tmp_path / "c", f"ckpt={checkpoint.parents[1]}", "trainer.max_epochs=1", "hydra.run.dir=run")
    assert code == 0, said
    assert "best.ckpt" in (tmp_path / "c" / "run" / "config.yaml").read_text()


def test_a_run_folder_goes_on(checkpoint: Path, tmp_path: Path) -> None:
    code, said = train(tmp_path / "b", "trainer.max_epochs=2", f"resume={checkpoint.parents[1]}", "hydra.run.dir=run")
    assert code == 0, said
    assert f"resume: {checkpoint}" in (tmp_path / "b" / "run" / "config.yaml").read_text()
