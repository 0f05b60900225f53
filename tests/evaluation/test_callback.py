"""The evaluation of test images in Lightning's test loop: what the callback writes, and of whose
modules."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from invsmooth.cache import Store
from invsmooth.checks.truth import Attacked, check_error
from invsmooth.core.errors import CertificateViolation
from invsmooth.core.units import to_unit_scale
from invsmooth.data.datamodule import NamedImages
from invsmooth.estimators.frozen import state_sha256
from invsmooth.evaluation import certified
from invsmooth.evaluation.callback import EvaluationCallback
from invsmooth.evaluation.image import evaluate_image
from invsmooth.evaluation.module import EvaluationModule
from invsmooth.evaluation.result_cache import ResultCache, of_estimator
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import BlockGaussian
from invsmooth.operators.measurement import Measured, measure
from invsmooth.records.rows import SCHEMA, Declared, read_rows
from tests.evaluation.test_image import RUN, SETTING, measured, net, rows_of, settings

__all__ = ["measured", "net"]
COLUMNS = {k: v for k, v in RUN.items() if k != "estimator_sha256"}


class Foreign(L.LightningModule):
    """A module of someone else, who knows nothing of this package."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.dropout = nn.Dropout()

    def forward(self, y: torch.Tensor, operator: BlockGaussian) -> torch.Tensor:
        x = operator.A_adjoint(y)
        return x + 0.1 * self.dropout(self.conv(x))

    def test_step(self, batch: NamedImages, batch_idx: int) -> None:
        return None


def cache_of(evaluation: Evaluation, estimator: nn.Module, folder: Path | None = None) -> ResultCache:
    declared = Declared({c.name: c.declared for c in evaluation.certifiers})
    return ResultCache(Store(folder), of_estimator(estimator, "cpu"), evaluation, COLUMNS, declared)


def run_test(module: L.LightningModule, callback: EvaluationCallback, measured: Measured) -> pd.DataFrame:
    """Lightning's test loop on the images, a batch each."""
    batches = [NamedImages([name], measured.x[i : i + 1]) for i, name in enumerate(measured.names)]
    trainer = L.Trainer(
        accelerator="cpu", logger=False, callbacks=[callback], enable_progress_bar=False, enable_model_summary=False,
        inference_mode=False, default_root_dir=callback.folder,
    )  # fmt: skip
    trainer.test(module, DataLoader(batches, batch_size=None), verbose=False)  # type: ignore[arg-type]
    return read_rows([callback.folder])[0].drop(columns=["folder", "seconds"])


def alone(estimator: nn.Module, measured: Measured, evaluation: Evaluation) -> pd.DataFrame:
    """The rows of the pure function, image by image."""
    images = [measure(measured.setting, [n], measured.x[i : i + 1]) for i, n in enumerate(measured.names)]
    found = [rows_of(evaluate_image(estimator, m, evaluation), evaluation) for m in images]
    rows = pd.concat(found, ignore_index=True).drop(columns="seconds")
    return rows.assign(estimator_sha256=state_sha256(estimator))


def test_the_pure_function_writes_nothing_and_gives_the_rows_of_the_callback(
    net, measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = settings("discrepancy", "error", "mean", n_samples=30, check_samples=8, pictures=1, files=False)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        for name in ("touch", "write_bytes", "write_text", "mkdir", "replace", "rename"):
            patch.setattr(Path, name, lambda *a, **k: pytest.fail("written"))
        patch.setattr(torch, "save", lambda *a, **k: pytest.fail("saved"))
        expected = alone(net, measured, evaluation)
    assert not list(tmp_path.iterdir())
    callback = EvaluationCallback(tmp_path, cache_of(evaluation, net), [SETTING])
    rows = run_test(EvaluationModule(net, [SETTING]), callback, measured)
    pd.testing.assert_frame_equal(rows[expected.columns], expected, check_dtype=False)
    assert len(list((tmp_path / "pictures").iterdir())) == 2 * 2


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_lightning_module_of_someone_else_is_evaluated(measured, tmp_path: Path, wrapped: bool) -> None:
    """By itself in the test loop, and as the estimator of an EvaluationModule."""
    torch.manual_seed(0)
    foreign = Foreign()
    evaluation = settings("error", "mean", n_samples=30, check_samples=8, files=False)
    expected = alone(foreign, measured, evaluation)
    assert expected["bound"].notna().all()
    assert expected["attack_norm"].max() == pytest.approx(0.05, rel=1e-5)
    module = EvaluationModule(foreign, [SETTING]) if wrapped else foreign
    callback = EvaluationCallback(tmp_path, cache_of(evaluation, foreign), [SETTING])
    rows = run_test(module, callback, measured)
    pd.testing.assert_frame_equal(rows[expected.columns], expected, check_dtype=False)


def test_cached_images_are_not_evaluated_again(net, measured, tmp_path: Path) -> None:
    evaluation = settings("error", n_samples=30, check_samples=8, pictures=1, files=False)
    seen: list[int] = []
    net.register_forward_pre_hook(lambda net, arguments: seen.append(len(arguments[0])))
    found, counts, files = [], [], []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        cache = cache_of(evaluation, net, tmp_path / "cache")
        cache.columns["run_id"] = name
        callback = EvaluationCallback(tmp_path / name, cache, [SETTING])
        found.append(run_test(EvaluationModule(net, [SETTING]), callback, measured))
        counts.append((len(seen), cache.results.counts["cells cached"]))
        files.append({p.name: p.read_bytes() for p in (tmp_path / name / "pictures").iterdir()})
    assert counts[0][0] == counts[1][0]
    assert (counts[0][1], counts[1][1]) == (0, 2)
    assert set(found[1]["run_id"]) == {"second"}
    pd.testing.assert_frame_equal(found[1].drop(columns="run_id"), found[0].drop(columns="run_id"))
    assert files[0] == files[1]


def test_a_refuted_certificate_stops_the_run_and_keeps_the_evidence(
    net, measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certifier that certifies half of what it should, for the second image."""
    honest = certified.certify_all

    def wrong(*arguments: Any, **options: Any) -> Any:
        found = honest(*arguments, **options)
        if "error" in found and options["image_keys"] == ["d"]:
            found["error"].bound[0] *= 0.5
        return found

    monkeypatch.setattr(certified, "certify_all", wrong)
    evaluation = settings("error", "discrepancy", n_samples=30, check_samples=40, files=False)
    cache = cache_of(evaluation, net, tmp_path / "cache")
    with pytest.raises(CertificateViolation, match=r"image = d, eps = 0\.05, sigma = 12\.0, sigma_b = 5\.0") as error:
        run_test(EvaluationModule(net, [SETTING]), EvaluationCallback(tmp_path, cache, [SETTING]), measured)
    assert not [path for path in str(error.value).split("evidence: ")[1:] if not Path(path.splitlines()[0]).is_file()]
    # The rows that show it are there, and the image is not cached.
    assert len(pd.read_parquet(tmp_path / "results.parquet")) == 16
    assert len([p for p in (tmp_path / "cache" / "cells").rglob("*") if p.is_file() and not p.suffix]) == 1
    files = sorted((tmp_path / "violations").iterdir())
    assert len(files) == 2  # one for each sigma
    kept = torch.load(files[0], weights_only=True)
    operator = BlockGaussian(0.5, block=8, seed=9)
    operator.phi = kept["operator_buffers"]["phi"]
    case = Attacked(net, operator, kept["x"], kept["b"], kept["xi"], None, kept["n_samples"], [kept["image"]])
    smoothing = dataclasses.replace(evaluation.smoothing(to_unit_scale(kept["sigma"])), seed=kept["seed"])
    again = check_error(
        case, smoothing, kept["checked"], reference=kept["reference"], q=kept["quantile"], confidence=kept["confidence"]
    )
    assert float(again.lower) == pytest.approx(kept["lower"], rel=1e-4)
    assert float(again.upper) == pytest.approx(kept["upper"], rel=1e-4)
    assert again.violated.all()


def test_rows_have_the_columns_of_the_schema_and_of_the_certifiers(net, measured, tmp_path: Path) -> None:
    evaluation = settings("error", n_samples=30, files=False)
    callback = EvaluationCallback(tmp_path, cache_of(evaluation, net), [SETTING])
    run_test(EvaluationModule(net, [SETTING]), callback, measured)
    rows, declared = read_rows([tmp_path])
    assert list(rows.columns) == [*SCHEMA.names, "certified_psnr", "folder"]
    assert declared.certifiers == {"error": evaluation.certifiers[0].declared}


def test_attacks_and_draws_of_another_precision_are_not_reused(net, measured, tmp_path: Path) -> None:
    """They are cached on their own, beside the rows."""
    rows = {}
    for name, folder in (("alone", None), ("after float32", tmp_path / "cache")):
        for precision in ("fp32", "bf16") if folder else ("bf16",):
            evaluation = settings("error", "mean", n_samples=30, check_samples=0, files=False, precision=precision)
            run = tmp_path / name / precision
            run.mkdir(parents=True)
            callback = EvaluationCallback(run, cache_of(evaluation, net, folder), [SETTING])
            rows[name, precision] = run_test(EvaluationModule(net, [SETTING]), callback, measured)
    columns = ["bound", "psnr_attacked", "psnr_clean"]
    pd.testing.assert_frame_equal(rows["alone", "bf16"][columns], rows["after float32", "bf16"][columns])
    assert not rows["after float32", "fp32"]["bound"].equals(rows["after float32", "bf16"]["bound"])
