"""The sweeps in Lightning's test loop, called on one batch of two images."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from invsmooth.attacks import Target, apgd, noise, pgd
from invsmooth.certificates import certify, order_statistic_index, pixel_intervals, shifted_quantile
from invsmooth.checks.truth import check_error
from invsmooth.core.errors import CertificateViolation, PremiseError
from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.data.datamodule import NamedImages
from invsmooth.estimators import ISTANetPP
from invsmooth.evaluation import settings
from invsmooth.evaluation.attack_sweep import AttackPlan, AttackSweep
from invsmooth.evaluation.certify_sweep import CertifySweep
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.evaluation.truth_check import TruthChecker
from invsmooth.operators import BlockGaussian
from invsmooth.operators.measurement import Measured, Setting, measure
from invsmooth.records.pictures import KINDS, picture_file
from invsmooth.records.rows import SCHEMA
from invsmooth.reporting.together import statements
from invsmooth.training import OrdTraining, TrainingSetup

SETTING = Setting(BlockGaussian(0.5, block=8), 0.5, 5.0)
EPS, SIGMA = [0.0, 0.05], [12.0, 25.0]


@pytest.fixture
def module() -> OrdTraining:
    torch.manual_seed(1)
    return OrdTraining(TrainingSetup(ISTANetPP(1, 4), [SETTING.operator], 0.0, [SETTING], 1e-3))


@pytest.fixture
def measured() -> Measured:
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return measure(SETTING, ["a/b c", "d"], x)


def attacked(
    module: OrdTraining, measured: Measured, name: str = "pgd", target: Target | None = None
) -> dict[str, Any]:
    with torch.no_grad():
        outputs = module.test_step(NamedImages(list(measured.names), measured.x), 0)
    plan = AttackPlan(name, EPS, SIGMA, {"n_iter": 3}, target or Target(), seed=1)
    with torch.no_grad():  # as Lightning does
        AttackSweep(plan).on_test_batch_end(None, module, outputs, None, 0)  # type: ignore[arg-type]
    return outputs


@pytest.mark.parametrize("name", ["pgd", "apgd", "noise"])
def test_one_attack_serves_every_sigma_unless_its_target_depends_on_it(module, measured, name: str) -> None:
    base = attacked(module, measured, name)["attacks"]
    assert set(base) == {(e, s) for e in EPS for s in SIGMA}
    assert base[0.05, 12.0] is base[0.05, 25.0]
    mean = attacked(module, measured, name, Target("mean", n_samples=4))["attacks"]
    assert mean[0.0, 12.0] is mean[0.0, 25.0]
    assert mean[0.05, 12.0] is not mean[0.05, 25.0]
    for sigma in SIGMA:
        direct = {"pgd": pgd, "apgd": apgd, "noise": noise}[name](
            module.estimator, SETTING.operator, measured.x, measured.b, eps=0.05, n_iter=3, seed=1,
            target=Target("mean", sigma / 255, 4), image_keys=measured.names,
        )  # fmt: skip
        torch.testing.assert_close(mean[0.05, sigma].xi, direct.xi)


class OtherThanAlone(torch.nn.Module):
    def forward(self, y: torch.Tensor, operator: BlockGaussian) -> torch.Tensor:
        return operator.A_adjoint(y - y.mean(0, keepdim=True))


class Staircase(torch.nn.Module):
    def forward(self, y: torch.Tensor, operator: BlockGaussian) -> torch.Tensor:
        return (operator.A_adjoint(y) * 255).round() / 255 + 0 * operator.A_adjoint(y)


def test_an_evaluation_checks_its_network(module, measured) -> None:
    module.estimator = OtherThanAlone()
    with pytest.raises(PremiseError, match="depend on others of their batch"):
        attacked(module, measured)


def test_an_evaluation_checks_once(module, measured) -> None:
    """Two images more than f(y) of the two images and the attacks on them: one pass at eps = 0, four at the other."""
    seen: list[int] = []
    module.estimator.register_forward_pre_hook(lambda net, arguments: seen.append(len(arguments[0])))
    attacked(module, measured)
    assert sum(seen) == 2 + 2 + 2 * (1 + 4)


def test_rows_say_that_the_gradient_was_zero(module, measured, tmp_path: Path) -> None:
    module.estimator = Staircase()
    with pytest.warns(UserWarning, match="gradient is zero"):
        outputs = attacked(module, measured)
    rows = certified(tmp_path, module, outputs)
    assert (rows["attack_zero_gradient"] == (rows["eps"] > 0)).all()


def certified(folder: Path, module: OrdTraining, outputs: dict[str, Any], units: Units = Units.matched) -> pd.DataFrame:
    plan = CertifyPlan(["error", "discrepancy"], EPS, SIGMA, 30, 0.9, 0.5, units, 1)
    columns = {"run_id": "r", "algo": "ord", "task": "cs", "estimator": "e", "dataset": "d", "operator": "o",
               "attack": "pgd", "attack_target": "mean"}  # fmt: skip
    sweep = CertifySweep(plan, columns, folder, 0, TruthChecker(folder, 40, 0.5, 1, None))
    sweep.on_test_start(None, module)  # type: ignore[arg-type]
    try:
        sweep.on_test_batch_end(None, module, outputs, None, 0)  # type: ignore[arg-type]
    finally:
        rows = pd.read_parquet(folder / "results.parquet")
    return rows


def test_rows_of_a_smoothed_target(module, measured, tmp_path: Path) -> None:
    outputs = attacked(module, measured, target=Target("mean", n_samples=4))
    rows = certified(tmp_path, module, outputs)
    assert list(rows.columns) == SCHEMA.names
    assert len(rows) == 2 * 2 * 2 * 2  # images × eps × sigma × certifiers
    assert set(rows["attack_target"]) == {"mean"}
    # Each sigma has its own attack: the attacked reconstructions differ.
    quality = rows[rows["eps"] == 0.05].groupby(["image", "certifier"])["psnr_attacked"]
    assert (quality.nunique() == 2).all()
    evals = rows.set_index("eps")["attack_grad_evals"]
    assert set(evals[0.05]) == {12}  # 3 gradients of 4 draws
    assert set(evals[0.0]) == {0}
    for sigma in SIGMA:
        y = SETTING.operator.A(measured.x + outputs["attacks"][0.05, sigma].xi) + measured.b
        error = (module.estimator(y, SETTING.operator) - measured.x).flatten(1).square().mean(1)
        row = rows[(rows["eps"] == 0.05) & (rows["sigma"] == sigma) & (rows["certifier"] == "error")]
        unclipped = (-10 * error.log10()).tolist()
        assert row["psnr_attacked"].tolist() >= [u - 1e-4 for u in unclipped]
    assert not (tmp_path / "violations").exists()


def test_a_refuted_certificate_stops_the_run_and_keeps_the_evidence(
    module, measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certifier that certifies half of what it should, for the second image."""
    honest = settings.certify_all

    def wrong(*arguments: Any, **options: Any) -> Any:
        found = honest(*arguments, **options)
        if "error" in found:
            found["error"].bound[1] *= 0.5
        return found

    monkeypatch.setattr(settings, "certify_all", wrong)
    outputs = attacked(module, measured)
    with pytest.raises(CertificateViolation, match=r"image = d, eps = 0\.05, sigma = 12\.0, sigma_b = 5\.0"):
        certified(tmp_path, module, outputs)
    # The rows that show it are there.
    assert len(pd.read_parquet(tmp_path / "results.parquet")) == 16
    files = sorted((tmp_path / "violations").iterdir())
    assert len(files) == 2  # one for each sigma
    kept = torch.load(files[0], weights_only=True)
    operator = BlockGaussian(0.5, block=8, seed=9)
    operator.phi = kept["operator_buffers"]["phi"]
    again = check_error(
        module.estimator, operator, kept["x"], kept["b"], kept["xi"], certified=kept["checked"],
        sigma=kept["sigma"] / 255, n_samples=kept["n_samples"], q=kept["quantile"], confidence=kept["confidence"],
        seed=kept["seed"], image_keys=[kept["image"]],
    )  # fmt: skip
    assert float(again.lower) == pytest.approx(kept["lower"], rel=1e-4)
    assert float(again.upper) == pytest.approx(kept["upper"], rel=1e-4)
    assert again.violated.all()


def test_published_units_are_not_checked(module, measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no certificate for this eps: there is nothing to refute."""
    monkeypatch.setattr(TruthChecker, "__call__", lambda *a: pytest.fail("checked"))
    assert not certified(tmp_path, module, attacked(module, measured), Units.paper)["sound"].any()


def test_check_needs_an_attack_a_bound_and_draws(module, measured, tmp_path: Path) -> None:
    xi = pgd(module.estimator, SETTING.operator, measured.x, measured.b, eps=0.05, n_iter=2).xi
    honest = certify(module.estimator, SETTING.operator, measured.y, sigma=0.05, eps=0.05, n_samples=40, certifier="error",
                     x=measured.x)  # fmt: skip
    zero, none = (dataclasses.replace(honest, bound=torch.full((2,), value)) for value in (0.0, torch.nan))

    def run(check: TruthChecker, eps: float, certificate: Any, certifier: str = "error") -> Any:
        return check(module.estimator, measured, xi, eps, 12.0, certifier, certificate, measured.x)

    check = TruthChecker(tmp_path, 20, 0.5, 0, None)
    assert run(check, 0.0, zero) is None
    assert run(check, 0.05, none) is None
    assert run(TruthChecker(tmp_path, 20, 0.5, 0, None, radius_of=None), 0.05, zero, "radius") is None
    assert run(TruthChecker(tmp_path, 0, 0.5, 0, None), 0.05, zero) is None
    check.conclude()
    assert run(check, 0.05, zero) is not None
    with pytest.raises(CertificateViolation, match="image = a/b c"):
        check.conclude()
    assert len(list((tmp_path / "violations").glob("*.pt"))) == 2


def sweep_rows(
    plan: CertifyPlan, n_check: int, module, outputs: dict[str, Any], folder: Path, n_pictures: int = 0
) -> pd.DataFrame:
    columns = dict.fromkeys(
        ("run_id", "algo", "task", "estimator", "dataset", "operator", "attack", "attack_target"), ""
    )
    sweep = CertifySweep(plan, columns, folder, n_pictures, TruthChecker(folder, n_check, 0.5, 1, None))
    sweep.on_test_start(None, module)  # type: ignore[arg-type]
    sweep.on_test_batch_end(None, module, outputs, None, 0)  # type: ignore[arg-type]
    return pd.read_parquet(folder / "results.parquet")


@pytest.mark.parametrize("certifier", ["error", "discrepancy", "mean", "center", "radius"])
def test_every_certificate_is_compared_with_the_truth(module, measured, tmp_path: Path, certifier: str) -> None:
    """In the rows: the truth lies within its limits and below the bound. A bound that claims next to nothing is refuted."""
    plan = CertifyPlan([certifier], EPS, SIGMA, 60, 0.9, 0.5, Units.matched, 1, n_pred=3000, threshold=0.3)
    outputs = attacked(module, measured)
    rows = sweep_rows(plan, 400, module, outputs, tmp_path)
    rows = rows[rows["eps"] > 0]
    assert (rows["truth_lower"] <= rows["truth"]).all()
    assert (rows["truth"] <= rows["truth_upper"]).all()
    assert (rows["truth"] <= rows["bound"]).all()
    assert ((rows["psnr_noise"] - rows["psnr_clean"]).abs() < 0.5).all()
    assert (rows["psnr_noise"] != rows["psnr_clean"]).all()
    found = plan.certify([certifier], module.estimator, measured, measured.y, [0.05], 12.0)[certifier].at(0)
    wrong = dataclasses.replace(found, bound=found.bound * 1e-6)
    # The limit of a mean is slow to rise above 0: a shift that is large against the ball's radius is seen.
    xi = outputs["attacks"][0.05, 12.0].xi * (20 if certifier == "mean" else 1)
    check = TruthChecker(tmp_path, 4000 if certifier == "mean" else 400, 0.5, 1, None)
    check(module.estimator, measured, xi, 0.05, 12.0, certifier, wrong, measured.x)
    with pytest.raises(CertificateViolation, match=f"certifier = {certifier}"):
        check.conclude()


@pytest.mark.parametrize("radius_of", ["error", "discrepancy"])
def test_the_radius_is_checked_as_what_it_is_about(module, measured, tmp_path: Path, radius_of: str) -> None:
    """Alone; beside error, whose bound is below the threshold, only where it is about the discrepancy."""
    settings: dict[str, Any] = {"threshold": 0.3, "radius_of": radius_of}
    alone = CertifyPlan(["radius"], EPS, SIGMA, 60, 0.9, 0.5, Units.matched, 1, **settings)
    beside = CertifyPlan(["radius", "error"], EPS, SIGMA, 60, 0.9, 0.5, Units.matched, 1, **settings)
    outputs = attacked(module, measured)
    assert (alone.radius_checked_of, beside.radius_checked_of) == (
        radius_of,
        None if radius_of == "error" else radius_of,
    )
    xi = outputs["attacks"][0.05, 12.0].xi
    found = alone.certify(["radius"], module.estimator, measured, measured.y, [0.05], 12.0)["radius"].at(0)
    check = TruthChecker(tmp_path, 40, 0.5, 1, None, radius_of)
    truth = check(module.estimator, measured, xi, 0.05, 12.0, "radius", found, measured.x)
    reference = measured.x if radius_of == "error" else module.estimator(measured.y, SETTING.operator).detach()
    expected = check_error(
        module.estimator, SETTING.operator, measured.x, measured.b, xi, certified=found.bound, sigma=12 / 255, n_samples=40,
        reference=reference, seed=1, image_keys=measured.names,
    )  # fmt: skip
    assert truth is not None
    torch.testing.assert_close(truth.estimate, expected.estimate)
    torch.testing.assert_close(truth.certified, torch.full((2,), 0.3, dtype=truth.certified.dtype))


def test_of_center_the_ball_is_checked(module, measured, tmp_path: Path) -> None:
    """Its radius R-hat bounds the 1/2 + Delta quantile of the distances to the centre, also under the attack; the row has
    3 times that, squared."""
    outputs = attacked(module, measured)
    xi = outputs["attacks"][0.05, 12.0].xi
    plan = CertifyPlan(["center"], EPS, SIGMA, 60, 0.9, 0.5, Units.matched, 1, n_pred=3000)
    found = plan.certify(["center"], module.estimator, measured, measured.y, [0.05], 12.0)["center"].at(0)
    truth = TruthChecker(tmp_path, 40, 0.5, 1, None)(
        module.estimator, measured, xi, 0.05, 12.0, "center", found, measured.x
    )
    expected = check_error(
        module.estimator, SETTING.operator, measured.x, measured.b, xi, certified=found.bound / 9, sigma=12 / 255,
        n_samples=40, reference=found.shown, q=0.55, seed=1, image_keys=measured.names,
    )  # fmt: skip
    assert truth is not None
    for name in ("estimate", "lower", "upper", "certified"):
        torch.testing.assert_close(getattr(truth, name), 9 * getattr(expected, name), equal_nan=True)


def test_all_certifiers_fill_their_columns(module, measured, tmp_path: Path) -> None:
    plan = CertifyPlan(
        ["discrepancy", "error", "radius", "mean", "center"], EPS, SIGMA, 60, 0.9, 0.5, Units.matched, 1, threshold=0.3,
        n_pred=2000, over_sigma="bonferroni", over_eps="bonferroni", n_images=2,
    )  # fmt: skip
    rows = sweep_rows(plan, 20, module, attacked(module, measured), tmp_path)
    assert len(rows) == 2 * 2 * 2 * 5
    assert set(rows["simultaneous"]) == {"eps, sigma"}
    assert set(rows["confidence"]) == {0.9}
    # The mean holds at all eps anyway: only the sigma share its confidence.
    each = rows.groupby("certifier")["confidence_each"].unique()
    assert all(v == pytest.approx([1 - 0.1 / (2 if certifier == "mean" else 4)]) for certifier, v in each.items())
    filled: dict[str, set[str]] = {
        "discrepancy": {"discrepancy_median", "discrepancy_certified"}, "error": {"certified_psnr"},
        "radius": {"certified_eps"}, "center": set(),
        "mean": {"certified_psnr_mean", "ball_radius", "clipped", "bound_chi_square", "bound_total_variation",
                 "bound_trace"},
    }  # fmt: skip
    for certifier, own in filled.items():
        mine = rows[rows["certifier"] == certifier]
        for column in set().union(*filled.values()):
            assert mine[column].notna().any() == (column in own), (certifier, column)
        assert mine["bound"].notna().any(), certifier
    mean = rows[rows["certifier"] == "mean"]
    assert (mean["bound"] <= mean[["bound_chi_square", "bound_total_variation"]].min(axis=1) * (1 + 1e-9)).all()


def test_confidence_is_shared_out_as_asked_for(module, measured, tmp_path: Path) -> None:
    """The rank of a certificate among several that hold together is that of the smaller failure probability."""
    plan = CertifyPlan(["discrepancy", "error"], EPS, SIGMA, 200, 0.9, 0.5, Units.matched, 1, n_images=2,
                       over_eps="bonferroni", over_sigma="bonferroni", over_images="bonferroni")  # fmt: skip
    rows = sweep_rows(plan, 0, module, attacked(module, measured), tmp_path)
    for _, row in rows.iterrows():
        q_bar = shifted_quantile(0.5, row["eps_over_sigma"], 1)
        assert row["k_index"] == order_statistic_index(200, q_bar, 1 - 0.1 / (2 * 2 * 2))
    assert set(rows["simultaneous"]) == {"eps, sigma, images"}


@pytest.mark.parametrize("target", ["base", "mean"])
def test_under_dkw_what_is_taken_at_measurements_of_its_own_pays_for_their_union(
    module, measured, tmp_path: Path, target: str
) -> None:
    """One band joins the radii of one measurement. ``discrepancy`` has another for each radius (and sigma, where the attack
    depends on it): exact ranks, with the confidence shared out. Also of ``radius`` about the discrepancy, which is taken
    at the clean measurement, the band serves."""
    plan = CertifyPlan(["discrepancy", "error", "radius", "center", "mean"], EPS, SIGMA, 200, 0.9, 0.5, Units.matched, 1,
                       n_images=2, over_eps="dkw", over_sigma="bonferroni", threshold=0.3, radius_of="discrepancy",
                       n_pred=1500)  # fmt: skip
    rows = sweep_rows(plan, 0, module, attacked(module, measured, target=Target(target, n_samples=2)), tmp_path)
    assert len(rows) == 2 * 2 * 2 * 5
    for _, row in rows.iterrows():
        own = row["certifier"] == "discrepancy"
        assert row["confidence_each"] == pytest.approx(1 - 0.1 / (2 * (len(EPS) if own else 1)))
        assert row["simultaneous"] == "eps, sigma"
        if row["certifier"] in ("discrepancy", "error", "radius"):
            q_bar = shifted_quantile(0.5, row["eps_over_sigma"], 1)
            assert row["k_index"] == order_statistic_index(200, q_bar, row["confidence_each"], dkw=not own)
    # As the report counts: of each image and sigma two ranks of discrepancy, and one band, radius, mean, and centre.
    counted = statements(rows.assign(folder="")).groupby("certifier")["statement"].nunique()
    cells = 2 * 2
    assert dict(counted) == {"discrepancy": 2 * cells} | dict.fromkeys(["error", "radius", "center", "mean"], cells)


def test_the_certified_eps_is_in_the_unit_of_its_row(module, measured, tmp_path: Path) -> None:
    """As published, eps divided by grey levels: the certified eps is that number, too."""
    found = {}
    for units in Units:
        plan = CertifyPlan(["radius"], EPS, [25.0], 60, 0.9, 0.5, units, 1, threshold=0.3)
        rows = sweep_rows(plan, 0, module, attacked(module, measured), tmp_path)
        found[units] = rows["certified_eps"]
        ratio = rows["certified_eps"] / (25.0 if units is Units.paper else 25 / 255)
        assert (rows["bound"].notna() == (rows["eps_over_sigma"] <= ratio)).all()
    assert found[Units.matched].notna().all()
    np.testing.assert_allclose(found[Units.paper], 255 * found[Units.matched])


def test_radius_is_decided_with_as_few_draws_as_it_takes(module, measured, tmp_path: Path) -> None:
    rows = {}
    for anytime in (False, True):
        plan = CertifyPlan(["radius"], EPS, SIGMA, 500, 0.9, 0.5, Units.matched, 1, threshold=0.3, anytime=anytime)
        rows[anytime] = sweep_rows(plan, 0, module, attacked(module, measured), tmp_path)
    assert rows[True]["bound"].equals(rows[False]["bound"])
    assert (rows[True]["n_samples"] < 100).all()
    assert (rows[False]["n_samples"] == 500).all()


@pytest.mark.parametrize(
    ("certifiers", "bands", "units"),
    [(["discrepancy", "mean"], "pointwise", Units.matched), (["error"], "bonferroni", Units.paper),
     (["error"], "none", Units.matched)],
)  # fmt: skip
def test_bands_of_the_pixels_beside_the_pictures(module, measured, tmp_path: Path, certifiers, bands, units) -> None:
    """Of the first image, at the measurement of the first certifier, with the plan's share of the confidence. No
    DKW band is of a pixel: under dkw, too, the radii share it."""
    plan = CertifyPlan(certifiers, EPS, SIGMA, 60, 0.9, 0.5, units, 1, over_sigma="bonferroni", over_eps="dkw",
                       bands=bands)  # fmt: skip
    outputs = attacked(module, measured)
    sweep_rows(plan, 0, module, outputs, tmp_path, n_pictures=1)
    with np.load(picture_file(tmp_path, "a/b c", 0.5, 5.0, 0.05, 25.0)) as pictures:
        kept = dict(pictures)
    if bands == "none":
        assert set(kept) <= set(KINDS)
        return
    y = measured.y
    if certifiers[0] == "discrepancy":
        y = SETTING.operator.A(measured.x + outputs["attacks"][0.05, 25.0].xi) + measured.b
    expected = pixel_intervals(
        module.estimator, SETTING.operator, y, sigma=25 / 255, eps=0.05 / (255 if units is Units.paper else 1), q=0.5,
        n_samples=60, confidence=1 - 0.1 / 4, simultaneous="bonferroni" if bands == "bonferroni" else "none", seed=1,
        image_keys=measured.names,
    )  # fmt: skip
    np.testing.assert_array_equal(kept["lower"], expected.lower[0, 0])
    np.testing.assert_array_equal(kept["upper"], expected.upper[0, 0])
    assert (kept["lower"] < kept["upper"]).all()
    assert kept["upper"].dtype == np.float32
    assert kept["bands"] == bands
    whose = "all pixels of the image together" if bands == "bonferroni" else "each pixel on its own"
    said = f"interval of the 0.5-quantile of each pixel; confidence 0.9: {whose}, and over all eps, sigma"
    assert str(kept["label"]) == said + (f"; {PAPER_LABEL}" if units is Units.paper else "")
