"""Colour from the command line: trained, evaluated from its checkpoint, verified; tiny images; other networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tests.processes import forked

SMALL = ["scale=small", "trainer.max_steps=2", "data.crop=32", "data.limit=1", "attack.n_iter=2", "attack.eps=[0,0.1]",
         "certify.n_samples=20", "certify.sigma=25", "trainer.progress_bar=false", "cache=null"]  # fmt: skip


def run(tmp_path: Path, command: str, *given: str, code: int = 0) -> str:
    environment = os.environ | {"INVSMOOTH_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    done = forked(command, *given, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("task", ["denoise", "cs"])
def test_colour_from_training_to_pictures(tmp_path: Path, task: str) -> None:
    first, second = tmp_path / "run", tmp_path / "again"
    more = ["logger=tensorboard"] if task == "denoise" else ["report=false"]
    run(tmp_path, "train", f"task={task}", "data.channels=3", *SMALL, *more,
        "certify.pixel_intervals=pointwise", f"hydra.run.dir={first}")  # fmt: skip
    checkpoint = first / "checkpoints" / "best.ckpt"
    # Without data.channels: they are the checkpoint's.
    run(tmp_path, "evaluate", f"ckpt={checkpoint}", *SMALL[2:], "report=false",
        f"hydra.run.dir={second}")  # fmt: skip
    rows = pd.read_parquet(second / "results.parquet")
    assert set(rows["dataset"]) == {"bundled (colour)"}
    assert rows["ssim_clean"].notna().all()
    of_training = pd.read_parquet(first / "results.parquet")
    assert rows["psnr_clean"].iloc[0] in set(of_training["psnr_clean"])
    pictures = np.load(next((first / "pictures").glob("*.npz")))
    assert pictures["clean"].shape == pictures["lower"].shape == (32, 32, 3)
    assert len(set(pictures["clean"].reshape(-1, 3).std(1))) > 1  # not three times the same channel
    run(tmp_path, "verify", str(first))
    said = run(tmp_path, "evaluate", f"ckpt={checkpoint}", "data.channels=2", code=2)
    assert "1 (grey) or 3 (red, green, blue)" in said


def test_tiny_images_have_rows_without_ssim(tmp_path: Path) -> None:
    run(tmp_path, "evaluate", "estimator=identity", "data.crop=8", *SMALL[3:], f"hydra.run.dir={tmp_path / 'run'}")
    rows = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert rows["ssim_clean"].isna().all()
    assert rows["psnr_clean"].notna().all()
    table = (tmp_path / "run" / "report" / "table.md").read_text(encoding="utf-8")
    assert "nan" not in table


class GreyOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return self.convolution(y)


def test_a_network_for_other_channels_is_refused_before_any_work(tmp_path: Path) -> None:
    torch.save(GreyOnly().state_dict(), tmp_path / "grey.pt")
    mine = "estimator._target_=tests.cli.test_colour.GreyOnly"
    for command, given in (
        ("train", ["estimator=custom", mine]),
        ("evaluate", ["estimator=custom", mine, f"ckpt={tmp_path / 'grey.pt'}"]),
        ("train", ["estimator.image_channels=1"]),
    ):
        said = run(tmp_path, command, *given, "data.channels=3", *SMALL, f"hydra.run.dir={tmp_path / 'run'}", code=2)
        assert "channels" in said
        assert not (tmp_path / "run" / "results.parquet").exists()
