"""No credential is left anywhere by a run that uses it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from invsmooth.config import cli
from invsmooth.core.errors import DataError
from invsmooth.core.redact import PLACEHOLDER
from invsmooth.loggers.description import describe
from tests.config.test_config import config
from tests.loggers.runs import plain
from tests.processes import forked
from tests.secrets.net import TOKEN

REPOSITORY = Path(__file__).parents[2]
ARGUMENTS = [
    "task=cs_small", "estimator._target_=tests.secrets.net.Net", "~estimator.n_phases", "~estimator.channels",
    "~estimator.image_channels",
    "task.batch_size=8", "task.n_iter=1", "trainer.max_steps=2", "trainer.num_threads=1", "trainer.progress_bar=false",
    "data.limit=1", "data.crop=33", "operator.ratio=0.3", "operator.train_ratio=0.3", "attack.eps=0.05",
    "certify.n_samples=60", "report=false",
]  # fmt: skip
SECRETS = {
    "MY_TOKEN": "SECRETtag",
    "INVSMOOTH_MIRROR": "https://user:SECRETmirror@127.0.0.1:9/",
    "WANDB_MODE": "offline",
}


def test_a_sweep_leaves_none(tmp_path: Path) -> None:
    """A job that finishes, with tokens in an argument, in the environment and as a tag; one that fails with a message that
    has them."""
    arguments = [
        f"+estimator.token={TOKEN}", "+estimator.fails=false,true", "logger=wandb", "logger.tags=[${oc.env:MY_TOKEN}]",
        "logger.group=https://me:SECRETgroup@host", "hydra.sweep.dir=sweep",
    ]  # fmt: skip
    environment = os.environ | SECRETS | {"PYTHONPATH": str(REPOSITORY)}
    done = forked("train", "--multirun", *ARGUMENTS, *arguments, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"the server refuses the token {PLACEHOLDER} at https://***@host/" in done.stdout
    assert "SECRET" not in done.stdout + done.stderr
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert [p for p in files if "SECRET" in str(p) or b"SECRET" in p.read_bytes()] == []

    finished = next(p for p in (tmp_path / "sweep").glob("0_*"))
    assert list(finished.glob("wandb/offline-run-*/run-*.wandb"))
    assert OmegaConf.load(finished / "config.yaml").data.mirror == "https://***@127.0.0.1:9/"
    saved = torch.load(finished / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["estimator"]["token"] == PLACEHOLDER
    assert f"+estimator.token={PLACEHOLDER}" in (finished / ".hydra" / "overrides.yaml").read_text()


def test_trackers_are_told_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "run.json").write_text('{"command": "x https://a:SECRET@b"}')
    cfg = config("logger=mlflow", "logger.tracking_uri=http://me:SECRETuri@host", "logger.tags=[${oc.env:MY_TOKEN}]",
                 "logger.group=${oc.env:MY_TOKEN}")  # fmt: skip
    found = describe(plain(cfg), tmp_path, "train")
    assert "SECRET" not in str(found)
    assert found.config["logger"]["tracking_uri"] == "http://***@host"
    assert cfg.logger.tracking_uri == "http://me:SECRETuri@host"  # what is connected to


def test_messages_have_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.fail(DataError("https://me:SECRET@host/a cannot be fetched")) == 2

    def bug() -> None:
        raise RuntimeError("https://me:SECRET@host/a")

    monkeypatch.setattr(cli, "prepare_process", lambda: None)
    with pytest.raises(SystemExit):
        cli.run(bug)
    shown = capsys.readouterr().err
    assert "SECRET" not in shown
    assert "RuntimeError: https://***@host/a" in shown
