"""Rows, files and costs of certifiers that do not smooth, and of those that combine others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from invsmooth.attacks import Noise, Target
from invsmooth.core.errors import CertificateViolation
from invsmooth.core.shards import Shard
from invsmooth.core.units import Units
from invsmooth.evaluation.callback import EvaluationCallback
from invsmooth.evaluation.image import evaluate_image
from invsmooth.evaluation.module import EvaluationModule
from invsmooth.evaluation.run import merge_rows
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured
from invsmooth.records.rows import KEY, read_rows, write_rows
from tests.certificates.nets import Scaled
from tests.evaluation.test_callback import cache_of, run_test
from tests.evaluation.test_image import EPS, GREY, RUN, SETTING, SIGMA, measured, rows, settings

__all__ = ["measured"]
CHOSEN = ["error", "mean", "lipschitz", "best", "discrepancy"]


def test_a_row_for_each_image_and_eps_and_none_for_sigma(measured) -> None:
    found = rows(Scaled(0.5), measured, settings("lipschitz", "error", check_samples=8))
    assert not found.duplicated(list(KEY)).any()
    own = found[found["certifier"] == "lipschitz"]
    assert own[["image", "eps"]].values.tolist() == [["a/b c", 0.0], ["d", 0.0], ["a/b c", 0.05], ["d", 0.05]]
    assert own[["sigma", "eps_over_sigma", "k_index", "psnr_certified"]].isna().all(axis=None)
    assert (own["sound"] & own["joint_over_eps"] & ~own["impossible"] & ~own["abstained"]).all()
    assert (own[["confidence", "confidence_each"]] == 1).all(axis=None)
    assert (own["n_samples"] == 0).all()
    assert (own["network_evals"] == 1).all()
    assert own["lipschitz"].tolist() == pytest.approx([0.5] * 4, rel=1e-6)
    assert set(own["threat"]) == {"signal"}
    assert own["bound"].tolist() == pytest.approx([0, 0, 0.025**2 / 256, 0.025**2 / 256], rel=1e-5)
    assert own["truth"].isna().tolist() == [True, True, False, False]
    checked = own[own["eps"] > 0]
    assert (checked["truth"] <= checked["bound"]).all()
    assert checked["psnr_median"].tolist() == pytest.approx(checked["psnr_clean"].tolist(), abs=1e-4)
    assert (checked["certified_psnr_lipschitz"] <= checked["psnr_attacked"] + 1e-4).all()
    assert len(found[found["certifier"] == "error"]) == 2 * 2 * 2


def test_it_is_certified_at_any_eps_whatever_sigma(measured) -> None:
    evaluation = Evaluation(
        eps=[1.0, 15.0], sigma=SIGMA, attack=Noise(n_iter=1), certifiers=settings("lipschitz").certifiers, n_samples=60
    )
    found = rows(Scaled(), measured, evaluation)
    assert list(evaluation.impossible()) == []
    assert found["bound"].tolist() == pytest.approx([1 / 256] * 2 + [225 / 256] * 2, rel=1e-5)


def test_alone_nothing_is_smoothed(measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """f^(y) once for each image and in each truth check, beside what every evaluation takes."""
    seen: list[tuple[torch.dtype, int]] = []
    forward = Scaled.forward
    monkeypatch.setattr(Scaled, "forward", lambda net, y, op: seen.append((y.dtype, len(y))) or forward(net, y, op))
    found = rows(Scaled(), measured, settings("lipschitz", check_samples=8))
    assert len(found) == 2 * 2
    single = sum(n for dtype, n in seen if dtype == torch.float32)
    assert single == 2 + 2 + 2 * (1 + 4) + 2 * 2 * 2  # as in test_image.py, but without the draw
    assert [n for dtype, n in seen if dtype == torch.float64] == [1] * (2 + 2)


def test_the_attack_of_its_rows_is_on_what_it_certifies(measured) -> None:
    """Where the others attack the mean of the smoothed reconstructions, each at its sigma."""
    evaluation = settings("lipschitz", "mean", target=Target("mean", n_samples=4), n_samples=20)
    found = rows(Scaled(), measured, evaluation).drop(columns="attack_target")
    result = evaluate_image(Scaled(), measured, evaluation)
    target = {(r["certifier"], r["attack_target"]) for r in result.rows}
    assert target == {("lipschitz", "base"), ("mean", "mean")}
    base = rows(Scaled(), measured, settings("lipschitz"))
    own = found[found["certifier"] == "lipschitz"]
    assert own["psnr_attacked"].tolist() == base["psnr_attacked"].tolist()
    assert set(own["attack_grad_evals"]) == {0, 3}


def test_an_estimator_without_a_constant_gets_its_reason(measured) -> None:
    found = rows(Plain(), measured, settings("lipschitz", "best", "error", check_samples=8))
    own = found[found["certifier"] == "lipschitz"]
    assert own["bound"].isna().all()
    assert own["lipschitz"].isna().all()
    assert set(own["reason"]) == {"no certificate: estimator Plain has no Lipschitz constant (no method lipschitz)"}
    best = found[found["certifier"] == "best"]
    assert set(best["best_of"]) == {"error"}


class Plain(torch.nn.Module):
    def forward(self, y: torch.Tensor, operator: Any) -> torch.Tensor:
        return operator.A_adjoint(y)


def test_published_units_take_the_published_radius_and_are_not_sound(measured) -> None:
    found = rows(Scaled(), measured, settings("lipschitz", "best", units=Units.paper, check_samples=8))
    assert not found["sound"].any()
    own = found[(found["certifier"] == "lipschitz") & (found["eps"] > 0)]
    assert own["bound"].tolist() == pytest.approx([(0.05 / 255) ** 2 / 256] * 2, rel=1e-5)
    assert found["truth"].isna().all()


def test_best_of_each_cell_and_its_confidence(measured) -> None:
    """0.9 each for error and mean: 0.8 by the union bound; the deterministic one costs nothing."""
    found = rows(Scaled(0.6), measured, settings(*CHOSEN, n_samples=40))
    best = found[found["certifier"] == "best"]
    assert len(best) == 2 * 2 * 2
    assert set(best["sigma"]) == set(GREY)
    assert best["confidence_each"].tolist() == pytest.approx([0.8] * 8)
    assert best["confidence"].tolist() == pytest.approx([0.8] * 8)
    assert best["sound"].all()
    assert (best["n_samples"] == 40).all()
    assert (best["network_evals"] == 0).all()
    curves = {"error": "certified_psnr", "mean": "certified_psnr_mean", "lipschitz": "certified_psnr_lipschitz"}
    for _, row in best.iterrows():
        cell = found[(found["image"] == row["image"]) & (found["eps"] == row["eps"])]
        cell = cell[cell["sigma"].isna() | (cell["sigma"] == row["sigma"])].set_index("certifier")
        values = {name: cell.loc[name, column] for name, column in curves.items() if cell.loc[name, "bound"] >= 0}
        assert row["certified_psnr_best"] == pytest.approx(max(values.values()), rel=1e-6)
        assert row["best_of"] == max(values, key=lambda name: values[name])


def test_best_pays_for_what_its_parts_pay_for(measured) -> None:
    evaluation = settings("error", "mean", "best", over_eps="bonferroni", over_sigma="bonferroni")
    best = evaluation.certifiers[-1]
    # Each of two sigmas has half of 0.1; error halves that again for two eps, which mean does not need to.
    assert evaluation.each(best, SIGMA[0]).confidence == pytest.approx(1 - 0.025 - 0.05)
    assert evaluation.confidence_of(best) == pytest.approx(0.8)


def test_best_of_the_deterministic_one_alone_has_no_sigma(measured) -> None:
    found = rows(Scaled(), measured, settings("best", "lipschitz"))
    assert found["certifier"].tolist() == ["best", "best", "lipschitz", "lipschitz"] * 2
    assert found["sigma"].isna().all()
    assert (found["confidence_each"] == 1).all()
    assert (found["n_samples"] == 0).all()


def test_best_is_impossible_where_all_its_parts_are() -> None:
    alone, beside = settings("error", "best", n_samples=5), settings("error", "best", "lipschitz", n_samples=5)
    for evaluation, impossible in ((alone, True), (beside, False)):
        best = next(c for c in evaluation.certifiers if c.name == "best")
        assert bool(evaluation.why_impossible(best, 5.0, SIGMA[0])) == impossible


def test_a_lying_constant_stops_the_run_and_keeps_the_evidence(measured, tmp_path: Path) -> None:
    """The identity (on what A sees) that declares 0.5."""
    evaluation = settings("lipschitz", check_samples=1, files=False)
    net = Scaled(1.0, declares=0.5)
    cache = cache_of(evaluation, net, tmp_path / "cache")
    with pytest.raises(CertificateViolation, match=r"image = a/b c, eps = 0\.05, sigma_b = 5\.0.*in float64") as error:
        run_test(EvaluationModule(net, [SETTING]), EvaluationCallback(tmp_path, cache, [SETTING]), measured)
    assert len(pd.read_parquet(tmp_path / "results.parquet")) == 2
    (file,) = (tmp_path / "violations").iterdir()
    assert str(file) in str(error.value)
    kept = torch.load(file, weights_only=True)
    xi, phi = kept["xi"].double(), kept["operator_buffers"]["phi"].double()
    moved = torch.nn.functional.conv2d(xi, phi, stride=8).norm() * kept["scale"]
    assert float(moved**2 / 256) == pytest.approx(kept["estimate"], rel=1e-6)
    assert kept["lower"] > kept["certified"]
    # Those that tell the truth pass.
    (tmp_path / "honest").mkdir()
    honest = EvaluationCallback(tmp_path / "honest", cache_of(evaluation, Scaled()), [SETTING])
    assert len(run_test(EvaluationModule(Scaled(), [SETTING]), honest, measured)) == 4


def test_cached_images_with_and_without_sigma(measured, tmp_path: Path) -> None:
    """Rows, pictures and certificate files are taken over; each cell has a picture of its own."""
    evaluation, net = settings("lipschitz", "error", n_samples=20, pictures=1, files=False), Scaled()
    found, pictures = [], []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        cache = cache_of(evaluation, net, tmp_path / "cache")
        callback = EvaluationCallback(tmp_path / name, cache, [SETTING])
        found.append(run_test(EvaluationModule(net, [SETTING]), callback, measured))
        pictures.append(sorted(p.name for p in (tmp_path / name / "pictures").iterdir()))
    assert cache.results.counts["cells cached"] == 2
    pd.testing.assert_frame_equal(found[1], found[0])
    cells = {f"{eps}{sigma}.npz" for eps in ("0", "0.05") for sigma in ("", "_sigma12", "_sigma25")}
    assert {name.split("_eps")[1] for name in pictures[0]} == cells
    assert pictures[1] == pictures[0]
    rows, _ = read_rows([tmp_path / "first", tmp_path / "second"])  # of one run: no cell twice
    assert len(rows) == len(found[0])


def test_rows_without_sigma_are_merged_in_the_order_of_one_process(measured, tmp_path: Path) -> None:
    evaluation = settings("lipschitz", "error", n_samples=20)
    declared = cache_of(evaluation, Scaled()).declared
    made: dict[str, list] = {name: [] for name in measured.names}
    for row in evaluate_image(Scaled(), measured, evaluation).rows:
        made[row["image"]].append(RUN | row | {"estimator_sha256": ""})
    for rank, name in enumerate(reversed(measured.names)):
        write_rows(tmp_path / Shard(rank, 2).file("results.parquet"), made[name], declared)
    merge_rows(tmp_path, 2, [(0.5, 5.0)], measured.names)
    merged = pd.read_parquet(tmp_path / "results.parquet")
    assert merged["image"].tolist() == ["a/b c"] * 6 + ["d"] * 6
    assert merged["sigma"].fillna(-1).tolist() == [-1, *GREY, -1, *GREY] * 2


def test_pixel_intervals_are_of_cells_with_noise(measured) -> None:
    one = Measured(measured.setting, ["d"], measured.x[1:], measured.b[1:], measured.y[1:])
    evaluation = settings("lipschitz", "error", n_samples=20, pictures=1, pixel_intervals="pointwise")
    found = evaluate_image(Scaled(), one, evaluation).pictures
    assert {cell: "lower" in arrays for cell, arrays in found.items()} == {
        (eps, sigma): sigma is not None for eps in EPS for sigma in (None, *SIGMA)
    }
