"""The floor from training to the rows: calibrated, saved with the network, used again by an evaluation of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image

from invsmooth.config import schema
from invsmooth.core.errors import DataError
from invsmooth.data import read_image
from invsmooth.estimators import load_checkpoint
from invsmooth.evaluation.calibration import read_calibration
from invsmooth.operators import Identity
from invsmooth.operators.measurement import Setting, measure
from invsmooth.pipeline.run import evaluate_checkpoint, train_and_evaluate
from invsmooth.records.rows import read_rows

N = 12  # calibration images, of 15 that are held out to test on or calibrate


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for k in range(30):
        coarse = np.random.default_rng(k).integers(0, 256, (3, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((16, 16), Image.Resampling.BILINEAR).save(folder / f"{k:02}.png")
    return folder


def rows(root: str, pictures: Path, folder: Path, *overrides: str) -> pd.DataFrame:
    schema.register()
    common = [
        "task=denoise_small", "data=folder", f"data.root={pictures}", "data.crop=null", "data.val_crop=null",
        "estimator=lipnet", "estimator.n_steps=1", "estimator.filters=2", "estimator.kernel=3", "algo=certified",
        "task.patch_size=16", "task.n_patches=64", "trainer.max_steps=2", "trainer.progress_bar=false", "certify=lipschitz",
        "attack.eps=[0,0.5]", "attack.n_iter=2", "report=false", "certify.files=false", "cache=null", "certify.pictures=0",
    ]  # fmt: skip
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose(root, [*common, *overrides])
    folder.mkdir(parents=True, exist_ok=True)
    (train_and_evaluate if root == "train" else evaluate_checkpoint)(cfg, folder)
    return read_rows([folder])[0]


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, rows("train", pictures, folder, "data.holdout=0.97", f"data.calibration={N}")


def test_floor_of_new_images_by_hand(trained: tuple[Path, pd.DataFrame], pictures: Path) -> None:
    """The 12th smallest of 12 errors has the confidence 12/13 > 0.9."""
    folder, found = trained
    net = load_checkpoint(folder / "checkpoints" / "best.ckpt").double()
    calibration = read_calibration(folder / "checkpoints" / "best.ckpt")
    assert calibration is not None
    assert not {*found["image"]} & {p.name for p in pictures.iterdir() if picture(p) in calibration.images}
    setting = Setting(Identity(), 1.0, 15 / 255)
    errors = []
    for path in (p for p in pictures.iterdir() if picture(p) in calibration.images):
        measured = measure(setting, [path.name], read_image(path)[None])
        with torch.no_grad():
            errors.append(float((net(measured.y.double(), setting.operator) - measured.x.double()).norm()))
    assert len(errors) == N
    for eps, some in found.groupby("eps"):
        expected = 20 * math.log10(16 / (max(errors) + float(eps)))
        np.testing.assert_allclose(some["psnr_floor"], expected, rtol=1e-6)
        assert set(some["floor_confidence"]) == {0.9}
        np.testing.assert_allclose(some["lipschitz"], 1.0)


def picture(path: Path) -> str:
    from invsmooth.data.files import digest

    return digest(np.asarray(Image.open(path)))


def test_an_evaluation_takes_the_floor_from_the_checkpoint(
    trained: tuple[Path, pd.DataFrame], pictures: Path, tmp_path: Path
) -> None:
    """Not for the images that calibrated, and not for another noise."""
    folder, before = trained
    ckpt = f"ckpt={folder / 'checkpoints' / 'best.ckpt'}"
    found = rows("evaluate", pictures, tmp_path / "again", ckpt, "operator.sigma_b=[15,25]", "data.limit=8")
    at_15 = found[found["sigma_b"] == 15]
    without = set(at_15.loc[at_15["psnr_floor"].isna(), "image"])
    calibration = read_calibration(folder / "checkpoints" / "best.ckpt")
    assert calibration is not None
    assert without == {name for name in found["image"] if picture(pictures / name) in calibration.images}
    assert 0 < len(without) < 8
    new = at_15[~at_15["image"].isin(without)].groupby("eps")["psnr_floor"]
    np.testing.assert_allclose(new.min(), before.groupby("eps")["psnr_floor"].first(), rtol=1e-12)
    np.testing.assert_allclose(new.max(), new.min(), rtol=1e-12)
    assert found.loc[found["sigma_b"] == 25, "psnr_floor"].isna().all()


def test_an_evaluation_calibrates_and_leaves_the_checkpoint_as_it_is(
    trained: tuple[Path, pd.DataFrame], pictures: Path, tmp_path: Path
) -> None:
    ckpt = trained[0] / "checkpoints" / "best.ckpt"
    content = ckpt.read_bytes()
    found = rows("evaluate", pictures, tmp_path, f"ckpt={ckpt}", "data.calibration=20", "certify.floor_confidence=0.8")
    assert found["psnr_floor"].notna().all()
    assert found["image"].nunique() == 10
    assert ckpt.read_bytes() == content
    copy = read_calibration(tmp_path / "checkpoints" / "best.ckpt")
    assert copy is not None
    assert len(copy.images) == 20
    assert len(copy.groups[0].errors) == 20
    with pytest.raises(DataError, match=r"data\.calibration=30 of 30 images"):
        rows("evaluate", pictures, tmp_path, f"ckpt={ckpt}", "data.calibration=30")
