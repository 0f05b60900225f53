from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.loggers.runs import N_BATCHES, read, run

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="needs the package tensorboard: pip install -e '.[tensorboard]'",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "0_cs"
    run(folder, "logger=tensorboard", "certify.sigma=25")
    return folder


def test_event_file_has_curves_summary_pictures_and_config(trained: Path) -> None:
    events = accumulators.EventAccumulator(str(trained / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    metrics, rows = pd.read_csv(trained / "metrics.csv"), read(trained)
    loss = events.Scalars("train/loss")
    assert [event.step for event in loss] == list(range(N_BATCHES))  # batches, not optimiser steps
    np.testing.assert_allclose([event.value for event in loss], metrics["train/loss"].dropna(), rtol=1e-6)
    (clean,) = events.Scalars("eval/ratio0.1_b0/psnr_clean")
    assert clean.value == pytest.approx(rows["psnr_clean"].mean())
    tags = events.Tags()
    assert {"report/certificate", "pictures/chelsea_ratio0.1_b0/00_clean"} <= set(tags["images"])
    assert events.Images("pictures/chelsea_ratio0.1_b0/00_clean")[0].width == 33
    (config,) = events.Tensors("config/text_summary")
    text = config.tensor_proto.string_val[0].decode().removeprefix("```json").removesuffix("```")
    assert json.loads(text)["algo"]["t_step"] == 2
