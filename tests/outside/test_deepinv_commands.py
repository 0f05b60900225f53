"""``operator=deepinv`` and ``estimator=deepinv`` on the command line."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch

import tests.outside.deepinv_needed  # noqa: F401
from tests.processes import forked

import deepinv  # isort: skip

SMALL = ["task=denoise", "data.crop=32", "data.limit=1", "attack.n_iter=2", "attack.eps=[0,0.1]", "certify.n_samples=60",
         "certify.sigma=25", "trainer.progress_bar=false", "report=false"]  # fmt: skip
INPAINTING = ["operator=deepinv", "operator.physics._target_=deepinv.physics.Inpainting",
              "+operator.physics.img_size=[1,32,32]", "+operator.physics.mask=0.5"]  # fmt: skip
M_ABOVE_N = ["operator=deepinv", "operator.physics._target_=deepinv.physics.CompressedSensing",
             "+operator.physics.img_size=[1,32,32]", "+operator.physics.m=1300"]  # fmt: skip


def command(root: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"INVSMOOTH_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    return forked(module, *arguments, cwd=root, env=environment, timeout=300)


def rows(root: Path, module: str, *arguments: str) -> pd.DataFrame:
    done = command(root, module, *SMALL, *arguments, f"hydra.run.dir={root / 'run'}")
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(root / "run" / "results.parquet")


def test_reconstructor_and_verify(tmp_path: Path) -> None:
    model = ["estimator=deepinv", "estimator.model._target_=deepinv.models.ArtifactRemoval",
             "+estimator.model.backbone_net._target_=deepinv.models.MedianFilter",
             "+estimator.model.backbone_net.kernel_size=3"]  # fmt: skip
    found = rows(tmp_path, "evaluate", *INPAINTING, *model, "certify=all")
    assert set(found["operator"]) == {"deepinv"}
    assert found["bound"].notna().any()
    assert found.loc[found["eps"] > 0, "attack_norm"].max() == pytest.approx(0.1, rel=1e-3)
    refused = command(tmp_path, "verify", "--rerun", str(tmp_path / "run"))
    assert refused.returncode != 0
    assert "--trust deepinv.models" in refused.stdout
    confirmed = command(tmp_path, "verify", "--rerun", "--trust", "deepinv", str(tmp_path / "run"))
    assert confirmed.returncode == 0, confirmed.stdout
    assert "redrawn: confirmed" in confirmed.stdout


def test_denoiser_with_weights(tmp_path: Path) -> None:
    network = deepinv.models.DnCNN(in_channels=1, out_channels=1, depth=3, nf=4, pretrained=None)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    given = [f"+estimator.model.{k}" for k in ("in_channels=1", "out_channels=1", "depth=3", "nf=4", "pretrained=null")]
    model = ["estimator=deepinv", "estimator.model._target_=deepinv.models.DnCNN", *given, "estimator.sigma=0.06"]
    found = rows(tmp_path, "evaluate", *model, "ckpt=weights.pt")
    assert found["bound"].notna().any()
    confirmed = command(tmp_path, "verify", "--rerun", "--trust", "deepinv", str(tmp_path / "run"))
    assert confirmed.returncode == 0, confirmed.stdout


@pytest.mark.parametrize("threat", ["signal", "measurement"])
def test_both_threats_with_m_above_n(tmp_path: Path, threat: str) -> None:
    found = rows(
        tmp_path, "evaluate", *M_ABOVE_N, "estimator=matched_filter", "certify=lipschitz", f"certify.threat={threat}"
    )
    from invsmooth.operators import DeepInv

    operator = DeepInv({"_target_": "deepinv.physics.CompressedSensing", "img_size": [1, 32, 32], "m": 1300})
    norm = float(torch.linalg.matrix_norm(operator.made._A.double(), 2))
    constant = norm**2 if threat == "signal" else norm
    assert found["lipschitz"].to_list() == pytest.approx([constant] * len(found), rel=1e-5)
    last = found[found["eps"] == 0.1].iloc[0]
    assert last["bound"] == pytest.approx((constant * 0.1 + 2 * last["inexactness"]) ** 2 / 1024, rel=1e-4)


def test_training_and_evaluation_of_its_checkpoint(tmp_path: Path) -> None:
    blur = ["operator=deepinv", "operator.physics._target_=deepinv.physics.Blur", "+operator.physics.padding=circular",
            "+operator.physics.filter._target_=deepinv.physics.functional.gaussian_blur",
            "+operator.physics.filter.sigma=[1.0,1.0]"]  # fmt: skip
    trained = rows(
        tmp_path, "train", *blur, "scale=small", "estimator.channels=4", "estimator.levels=2", "trainer.max_steps=2"
    )
    ckpt = tmp_path / "run" / "checkpoints" / "best.ckpt"
    again = [*SMALL[1:], f"ckpt={ckpt}", f"hydra.run.dir={tmp_path / 'again'}"]
    refused = command(tmp_path, "evaluate", *again)
    assert refused.returncode == 2
    assert "names the class deepinv.physics.Blur" in refused.stderr
    done = command(tmp_path, "evaluate", *again, "trust=[deepinv]")
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "again" / "results.parquet")
    assert found["psnr_attacked"].to_list() == trained["psnr_attacked"].to_list()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["operator.physics._target_=deepinv.physics.PhaseRetrieval"],
         "physics deepinv.physics.PhaseRetrieval is not linear"),
        (["operator=custom", "operator._target_=deepinv.physics.RandomPhaseRetrieval", "+operator.m=10",
          "+operator.img_size=[1,32,32]"], "is not linear"),
        (["operator.physics._target_=deepinv.physics.Inpaint"], "has no attribute 'Inpaint'"),
        ([], "operator.physics._target_ has no value"),
        ([*INPAINTING, "+operator.physics.msk=1"], "msk"),
        ([*INPAINTING, "data.crop=16"], "is for images of shape (1, 32, 32), not (1, 16, 16)"),
        ([*M_ABOVE_N, "operator.bound=1"], "bound=1 is no bound of ||A||"),
        ([*INPAINTING, "estimator=deepinv", "estimator.model._target_=torch.nn.Identity"], "no Reconstructor and no"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_before_any_work(tmp_path: Path, arguments: list[str], said: str) -> None:
    refused = command(tmp_path, "evaluate", *SMALL, "estimator=ridge", "operator=deepinv", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
