"""The commands on a GPU (``trainer=gpu``): train, attack, certify, report; a second run takes all from the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_module

from invsmooth import verify
from invsmooth.config import schema
from invsmooth.pipeline import run as pipeline

TINY = [
    "task=cs", "estimator.n_phases=2", "estimator.channels=4", "data.crop=33", "data.val_crop=33", "data.limit=2",
    "attack.n_iter=3", "attack.check_samples=10", "attack.eps=[0,0.1]", "certify.sigma=[12,25]", "certify.n_samples=40",
    "certify.confidence=0.9", "certify.pictures=1", "trainer.progress_bar=false", "operator.train_ratio=[0.1]",
]  # fmt: skip
TRAIN = ["trainer.max_steps=2", "task.batch_size=4", "task.n_patches=20"]
SMALL = {
    "adv": ["algo.n_iter=2"], "smt_adv": ["algo.n_iter=2", "algo.n_samples=2"],
    "smt_grad": ["algo.n_samples=2", "algo.t_step=2"],
}  # fmt: skip
CERTIFIERS = "certify.certifiers=[discrepancy,error,radius,mean,center]"
TRAINER = {"cpu": "trainer=cpu", "cuda": "trainer=gpu"}
SAME_DB = 0.02
BOUNDS = {"rtol": 1e-3, "atol": 1e-9}


def run(folder: Path, command: str, *overrides: str) -> Path:
    folder.mkdir()
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose(command, [*TINY, "certify=all", "certify.n_pred=200", CERTIFIERS, *overrides])
    (pipeline.train_and_evaluate if command == "train" else pipeline.evaluate_checkpoint)(cfg, folder)
    return folder


def rows(folder: Path) -> pd.DataFrame:
    found = pd.read_parquet(folder / "results.parquet").drop(columns=["run_id", "seconds"])
    return found.sort_values(["image", "eps", "sigma", "certifier"], ignore_index=True)


def record(folder: Path) -> dict:
    read: dict = json.loads((folder / "run.json").read_text())
    return read


def assert_same_cells(own: pd.DataFrame, other: pd.DataFrame) -> None:
    """Ranks equal, bounds to a thousandth, the attack to 0.02 dB."""
    pd.testing.assert_series_equal(own["k_index"], other["k_index"])
    for name in ("psnr_clean", "psnr_attacked"):
        np.testing.assert_allclose(own[name], other[name], rtol=0, atol=SAME_DB, err_msg=name)
    for name in ("discrepancy_median", "discrepancy_certified"):
        np.testing.assert_allclose(own[name], other[name], **BOUNDS, equal_nan=True, err_msg=name)
    np.testing.assert_allclose(own["certified_psnr"], other["certified_psnr"], rtol=0, atol=SAME_DB, equal_nan=True)


CASES = [
    pytest.param("cpu", "ord", marks=pytest.mark.slow),
    *(pytest.param("cuda", a, marks=pytest.mark.gpu) for a in ("ord", "jcb", "adv", "smt_adv", "smt_grad")),
]


@pytest.mark.parametrize(("device", "algo"), CASES)
def test_train_attack_certify_report_and_the_cache(device: str, algo: str, tmp_path: Path) -> None:
    reports = (device, algo) == ("cuda", "ord")  # other tests report what a CPU made
    overrides = [
        f"algo={algo}", *SMALL.get(algo, []), *TRAIN, TRAINER[device], f"cache={tmp_path / 'cache'}",
        f"report={str(reports).lower()}",
    ]  # fmt: skip
    first = run(tmp_path / "first", "train", *overrides)
    assert record(first)["cells"]["cells computed"] == 2
    assert len(rows(first)) == 2 * 2 * 2 * 5  # images, eps, sigma, certifiers
    if reports:
        assert (first / "report" / "table.md").is_file()
        assert (first / "report" / "certificate.png").is_file()
        assert verify.run([str(first)]) == 0
    again = run(tmp_path / "again", "train", *overrides)
    assert record(again)["training"]["taken_over"]
    assert record(again)["cells"] == {"cells cached": 2}
    pd.testing.assert_frame_equal(rows(again), rows(first), check_exact=True)
    # The network that was trained here, evaluated on a CPU, from a cache that has the results of this device.
    checkpoint = first / "checkpoints" / "best.ckpt"
    options = [f"ckpt={checkpoint}", f"cache={tmp_path / 'cache'}", "report=false"]
    elsewhere = run(tmp_path / "elsewhere", "evaluate", *options, TRAINER["cpu"])
    if device != "cpu":
        assert record(elsewhere)["cells"]["cells computed"] == 2
    assert_same_cells(rows(first), rows(elsewhere))


@pytest.mark.gpu
def test_the_command_line(tmp_path: Path) -> None:
    """In a process of its own, without a checkout around it; denoising; a redraw on the CPU confirms its certificates."""
    task = ["task=denoise", "estimator.n_steps=1", "estimator.channels=4", "data.limit=1", "data.crop=33"]
    options = ["attack.n_iter=2", "certify=all", "certify.n_samples=40", "trainer.max_steps=2", "task.batch_size=4",
               "certify.sigma=25", "attack.eps=0.1", "trainer=gpu", "trainer.progress_bar=false", "certify.files=true",
               "hydra.run.dir=run"]  # fmt: skip
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}

    def command(module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"invsmooth.{module}", *arguments], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command("train", *task, *options)
    assert (tmp_path / "run" / "report" / "table.md").is_file()
    command("verify", "run", "--rerun")
