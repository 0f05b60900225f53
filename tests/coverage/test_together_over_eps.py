"""Joint coverage over eps of whole evaluations: of many images, how many have a certificate that is wrong at some eps.

The network is such that what it makes of the draws is nearly independent from one measurement to the next (it winds its
input around a circle hundreds of times), although the draws are the same: the hardest case for rows that are taken at
measurements of their own. The truth is known in closed form.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_module
from PIL import Image
from scipy.stats import binom
from torch import Tensor, nn

from invsmooth.certificates import shifted_quantile
from invsmooth.config import schema
from invsmooth.operators import LinearOperator
from invsmooth.pipeline.run import evaluate_checkpoint

SIZE, SIGMA, N_SAMPLES, CONFIDENCE = 12, 25.0, 60, 0.6
EPS = [0.0001 * k * k for k in range(1, 17)]
RADIUS, WINDING = 0.4, 2e5
schema.register()
GREY = (230, 128)
"""Of the upper and of the lower half of every image."""


class Circle(nn.Module):
    """a + r (cos, sin) of an angle that is h(y) = WINDING ||y||² / 2 turns; cos in the upper half of the image, sin in the
    lower. a is such that the image of GREY is the point at angle 0.

    h(y + delta) has a standard deviation of thousands of turns, so the angle is uniform, and so is the difference of two
    angles: the MSE to a point of the circle is r² (1 - cos(2 pi U)), U uniform.
    """

    def forward(self, y: Tensor, operator: LinearOperator) -> Tensor:
        angle = 2 * math.pi * (WINDING / 2 * y.double().square().sum((1, 2, 3))).frac()
        upper, lower = GREY[0] / 255 - RADIUS + RADIUS * angle.cos(), GREY[1] / 255 + RADIUS * angle.sin()
        halves = torch.stack([upper, lower], 1)[:, None, :, None]
        return halves.repeat_interleave(SIZE // 2, dim=2).expand(-1, 1, -1, SIZE).to(y.dtype)


def truth(eps: float) -> float:
    """The q̄-quantile of r² (1 - cos(2 pi U))."""
    return RADIUS**2 * (1 - math.cos(math.pi * shifted_quantile(0.5, eps, SIGMA / 255)))


def evaluated(folder: Path, over_eps: str, certifiers: list[str], n_images: int) -> pd.DataFrame:
    """The rows of a whole evaluation of ``n_images`` images that differ in their names, and so in their draws."""
    grey = np.repeat(np.array(GREY, np.uint8), SIZE // 2)[:, None].repeat(SIZE, axis=1)
    (folder / "images").mkdir()
    for k in range(n_images):
        Image.fromarray(grey).save(folder / "images" / f"{k}.png")
    given = [
        "task=denoise", "algo=ord", "estimator=custom", f"estimator._target_={__name__}.Circle", "data=folder",
        f"data.root={folder / 'images'}", "attack=noise", "attack.n_iter=1", "attack.check_samples=0", f"attack.eps={EPS}",
        "certify=discrepancy", f"certify.certifiers={certifiers}", f"certify.sigma={SIGMA}",
        f"certify.n_samples={N_SAMPLES}", f"certify.confidence={CONFIDENCE}", f"certify.over_eps={over_eps}",
        "certify.files=false", "certify.pictures=0", "report=false", "cache=null", "trainer.progress_bar=false",
    ]  # fmt: skip
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        cfg = compose("evaluate", given)
    evaluate_checkpoint(cfg, folder)
    return pd.read_parquet(folder / "results.parquet")


def failed(rows: pd.DataFrame) -> pd.DataFrame:
    """Whether the bound is below the truth, a line for each image, a column for each eps."""
    assert rows["bound"].notna().all()
    wrong = rows.assign(wrong=rows["bound"] < [truth(e) for e in rows["eps"]])
    return wrong.pivot(index="image", columns="eps", values="wrong")


@pytest.mark.parametrize(
    ("over_eps", "certifiers", "n_images"),
    [("none", ["discrepancy"], 20), ("bonferroni", ["discrepancy"], 60), ("dkw", ["discrepancy", "error"], 60)],
)
def test_certificates_fail_together_as_often_as_they_say(
    tmp_path: Path, over_eps: str, certifiers: list[str], n_images: int
) -> None:
    """Without a correction nearly every image has a radius that fails. With one, at most the share that is promised: also
    of ``discrepancy`` under dkw, whose own band for each radius would not do (it fails for three images of four)."""
    rows = evaluated(tmp_path, over_eps, certifiers, n_images)
    allowed = binom.isf(1e-4, n_images, 1 - CONFIDENCE)
    for certifier in certifiers:
        found = failed(rows[rows["certifier"] == certifier])
        assert found.shape == (n_images, len(EPS))
        # Radius by radius the confidence of a single certificate holds.
        each = rows.loc[rows["certifier"] == certifier, "confidence_each"].unique()
        assert (found.sum() <= binom.isf(1e-6, n_images, 1 - each.item())).all()
        together = int(found.any(axis=1).sum())
        if over_eps == "none":
            assert together > allowed
        else:
            assert 0 < together <= allowed
