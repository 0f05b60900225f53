"""Problems beside denoising and compressed sensing: trained, attacked, certified; their files are verified."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from invsmooth.estimators import DPDNN, ISTANetPP
from invsmooth.operators import BlockGaussian, LinearOperator, SuperResolution
from invsmooth.operators.base import step_of
from tests.processes import forked

SMALL = ["scale=small", "estimator.channels=4", "estimator.levels=2", "trainer.max_steps=2", "data.crop=32", "data.limit=1",
         "attack.n_iter=2", "attack.eps=[0,0.1]", "certify=all", "certify.n_samples=60", "certify.sigma=25",
         "trainer.progress_bar=false", "cache=null", "report=false"]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "overrides", "ratios"),
    [
        ("super_resolution", ["operator.ratio=[0.25,0.0625]", "data.channels=3"], {0.25, 0.0625}),
        ("mri", [], {0.25}),
        ("inpainting", ["operator.ratio=0.7", "operator.train_ratio=[0.5,0.7]"], {0.7}),
        (
            "deblurring",
            ["operator.kernel=motion", "operator.width=5", "operator.padding=zeros", "data.channels=3"],
            {1.0},
        ),
    ],
)
def test_from_training_to_verified_files(tmp_path: Path, task: str, overrides: list[str], ratios: set[float]) -> None:
    environment = os.environ | {"INVSMOOTH_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    given = [f"task={task}", *SMALL, *overrides, f"hydra.run.dir={tmp_path / 'run'}"]
    done = forked("train", *given, cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert set(rows["ratio"]) == ratios
    assert rows["bound"].notna().any()
    verified = forked("verify", "--rerun", str(tmp_path / "run"), cwd=tmp_path, env=environment, timeout=300)
    assert verified.returncode == 0, verified.stdout


def test_sizes_that_the_operator_refuses_are_found_before_any_work(tmp_path: Path) -> None:
    environment = os.environ | {"INVSMOOTH_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for given, message in (
        (["task=deblurring", "operator.width=20", "data.crop=64"], "40×40 is the size of patches (task.patch_size)"),
        (["operator=dense", "data.crop=20", "task.patch_size=16"], "20×20 is the size of"),
    ):
        done = forked("train", *given, "scale=small", cwd=tmp_path, env=environment, timeout=300)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


class Scaled(LinearOperator):
    """c · I."""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = c

    def A(self, x: Tensor) -> Tensor:
        return self.c * x

    def A_adjoint(self, y: Tensor) -> Tensor:
        return self.c * y

    def norm(self) -> float:
        return abs(self.c)


@pytest.mark.parametrize("estimator", [DPDNN(2, 4, 1), ISTANetPP(2, 4)], ids=lambda e: type(e).__name__)
def test_networks_see_the_same_whatever_the_scale_of_the_operator(estimator: torch.nn.Module) -> None:
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    one, five = Scaled(1.0), Scaled(5.0)
    torch.testing.assert_close(estimator(five.A(x), five), estimator(one.A(x), one), rtol=1e-4, atol=1e-5)


def test_step() -> None:
    assert (
        step_of(BlockGaussian(0.5, block=5)) == 1.0
    )  # orthonormal rows: exactly, so that published networks are as they were
    assert step_of(SuperResolution(0.25, "area")) == pytest.approx(4.0)
    assert step_of(object()) == 1.0  # type: ignore[arg-type]
    assert step_of(Scaled(0.0)) == 1.0


def test_more_measurements_than_pixels_from_the_command_line(tmp_path: Path) -> None:
    """m = 2 n, ||A|| not 1: attacked, certified with a constant, verified."""
    environment = os.environ | {"INVSMOOTH_ROOT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    given = ["task=cs", "operator=dense", "operator.side=16", "operator.ratio=2", "task.patch_size=16", "estimator=ridge",
             "data.crop=16", "data.limit=1", "attack=pgd", "attack.n_iter=2", "attack.eps=[0,0.1]", "certify=all",
             "certify.n_samples=60", "certify.sigma=25", "cache=null", "report=false"]  # fmt: skip
    done = forked("evaluate", *given, f"hydra.run.dir={tmp_path / 'run'}", cwd=tmp_path, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(tmp_path / "run" / "results.parquet")
    assert set(rows["ratio"]) == {2.0}
    assert rows["bound"].notna().any()
    assert rows.loc[rows["certifier"] == "lipschitz", "lipschitz"].notna().all()
    verified = forked("verify", "--rerun", str(tmp_path / "run"), cwd=tmp_path, env=environment, timeout=300)
    assert verified.returncode == 0, verified.stdout
    refused = forked("evaluate", *given, "operator.ratio=50", cwd=tmp_path, env=environment, timeout=300)
    assert refused.returncode == 2
    assert "write 0.5 for 50 %" in refused.stderr
