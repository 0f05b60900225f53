"""Fixtures: small images, and the reference data that a developer may have beside the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from invsmooth.core.memory import keep_memory


def on_cpu(marks: str) -> bool:
    """Whether the tests that ``-m marks`` chooses run without a GPU."""
    return "gpu" not in marks.replace("not gpu", "")


def pytest_configure(config: pytest.Config) -> None:
    # The default trainer takes a GPU where there is one, and with it the paper's sizes: the tests are for every machine.
    if on_cpu(config.getoption("markexpr")):
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _quiet_wandb(tmp_path_factory: pytest.TempPathFactory) -> None:
    """W&B keeps its files out of the home folder."""
    home = tmp_path_factory.mktemp("wandb")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        os.environ[name] = str(home)
    os.environ["WANDB_SILENT"] = "true"


@pytest.fixture(scope="session", autouse=True)
def _memory_is_kept() -> None:
    """As in every command: without it, a network on whole images takes twice as long."""
    keep_memory()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real test images and published checkpoints (not part of the project)."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference images and checkpoints at {SHARED}, which are not part of the project")
    return SHARED


@pytest.fixture
def image() -> torch.Tensor:
    """Two smooth-ish images of 24 × 20 pixels."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 1, 6, 5, generator=generator)
    return torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
