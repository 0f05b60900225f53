"""Where deepinv is not installed, whatever needs it says how to install it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.estimators import load_checkpoint
from invsmooth.pipeline.build import build_estimator, build_operator
from tests.config.test_config import config
from tests.processes import forked

PIP = "pip install 'invsmooth[deepinv]' (docs/deepinv.md)"
NETWORK = ["estimator=deepinv", "estimator.model._target_=deepinv.models.DRUNet"]


@pytest.fixture(autouse=True)
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "deepinv"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "deepinv", None)


@pytest.mark.parametrize("overrides", [NETWORK, NETWORK[:1]], ids=["a class", "no class"])
def test_estimator(overrides: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        build_estimator(config("task=denoise", *overrides), trains=True)
    assert str(error.value).endswith(f"deepinv is not installed: {PIP}")
    assert "estimator" in str(error.value)


@pytest.mark.parametrize(
    "overrides", [["operator.physics._target_=deepinv.physics.Inpainting"], []], ids=["a class", "no class"]
)
def test_operator(overrides: list[str]) -> None:
    cfg = config("task=denoise", "operator=deepinv", *overrides)
    with pytest.raises(ConfigError) as error:
        build_operator(cfg.operator, 1.0)
    assert str(error.value).endswith(PIP)
    assert "\n" not in str(error.value)


def test_checkpoint(tmp_path: Path) -> None:
    """Of a network that was trained where deepinv is."""
    network = {"_target_": "invsmooth.estimators.DeepInvModel", "model": {"_target_": "deepinv.models.DnCNN"}}
    torch.save({"state_dict": {}, "hyper_parameters": {"estimator": network}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(tmp_path / "a.ckpt", trust=["deepinv"])
    assert str(error.value).endswith(f"deepinv is not installed: {PIP}")


def test_another_missing_package_is_no_word_of_deepinv() -> None:
    with pytest.raises(ConfigError) as error:
        build_estimator(config("task=denoise", NETWORK[0], "estimator.model._target_=no_such_package.Net"), trains=True)
    assert "no_such_package" in str(error.value)
    assert PIP not in str(error.value)


def test_command(tmp_path: Path) -> None:
    """One message, nothing left behind; a file of that name stands for the missing package."""
    (tmp_path / "deepinv.py").write_text("raise ModuleNotFoundError(\"No module named 'deepinv'\", name='deepinv')\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", "INVSMOOTH_ROOT": str(tmp_path / "root")}
    done = forked("train", "task=denoise_small", *NETWORK, cwd=tmp_path, env=environment, timeout=100)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert PIP in done.stderr
    assert not (tmp_path / "root").exists()
