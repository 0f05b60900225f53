from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.loggers.runs import N_BATCHES, read, run, run_that_does_little

pytestmark = pytest.mark.skipif(  # imported by ours first, which keeps it out of the home folder
    find_spec("mlflow") is None, reason="needs the package mlflow-skinny: pip install -e '.[mlflow]'"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    run(root / "0_cs", *options(root), "certify.sigma=25", "logger.tags=[mine]")
    return root / "0_cs"


def options(root: Path) -> tuple[str, str]:
    return "logger=mlflow", f"logger.folder={root / 'mlruns'}"


def client(root: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient((root / "mlruns").as_uri())


def runs(root: Path) -> dict[str, Any]:
    """By name."""
    store = client(root)
    experiment = store.get_experiment_by_name("invsmooth")
    return {found.info.run_name: found for found in store.search_runs([experiment.experiment_id])}


def test_store_has_curves_summary_parameters_and_files(trained: Path, root: Path) -> None:
    store, found = client(root), runs(root)[f"{root.name}/0_cs"]
    metrics, rows = pd.read_csv(trained / "metrics.csv"), read(trained)
    loss = store.get_metric_history(found.info.run_id, "train/loss")
    assert [metric.step for metric in loss] == list(range(N_BATCHES))  # batches, not optimiser steps
    np.testing.assert_allclose([metric.value for metric in loss], metrics["train/loss"].dropna())
    assert found.data.metrics["eval/ratio0.1_b0/psnr_clean"] == pytest.approx(rows["psnr_clean"].mean())
    assert found.data.params["algo/t_step"] == "2"
    assert found.data.params["run/versions/lightning"].startswith("2.")
    assert found.data.tags["job_type"] == "train"
    assert found.data.tags["tags"] == "cs, smt_grad, bundled, mine"
    assert found.info.status == "FINISHED"
    folder = Path(store.download_artifacts(found.info.run_id, ""))
    assert (folder / "results.parquet").read_bytes() == (trained / "results.parquet").read_bytes()
    assert (folder / "checkpoints" / "best.ckpt").stat().st_size == (
        trained / "checkpoints" / "best.ckpt"
    ).stat().st_size
    assert (folder / "report" / "table.md").is_file()
    assert json.loads((folder / "config.json").read_text())["algo"]["t_step"] == 2


def test_each_job_of_a_process_has_its_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "data.root=" + "a" * 400  # MLflow takes no longer values than 250 to 6000 characters, by its version
    monkeypatch.setattr("invsmooth.pipeline.run.validate", lambda cfg: None)
    with pytest.raises(RuntimeError, match="job 1"):
        run_that_does_little(root / "1", monkeypatch, RuntimeError("job 1 fails"), *options(root), long)
    run_that_does_little(root / "2", monkeypatch, None, *options(root), "certificate.units=paper", "logger.group=ours")
    one, two = (runs(root)[f"{root.name}/{name}"] for name in ("1", "2"))
    assert (one.info.status, two.info.status) == ("FAILED", "FINISHED")
    assert one.data.params["data/root"] == "a" * 250
    assert two.data.tags["group"] == "ours"
    assert "not a certificate" in two.data.tags["mlflow.note.content"]
