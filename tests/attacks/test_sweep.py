"""The sweeps in Lightning's test loop, called on one batch of two images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from invsmooth.algorithms import OrdTraining, TrainingSetup
from invsmooth.attacks import ATTACKS, Target, pgd
from invsmooth.attacks.sandwich import check_error
from invsmooth.callbacks import AttackPlan, AttackSweep, CertifyPlan, CertifySweep, SandwichCheck, certify_sweep
from invsmooth.errors import CertificateViolation
from invsmooth.estimators import ISTANetPP
from invsmooth.measurement import Measured, Setting, measure
from invsmooth.operators import BlockGaussian
from invsmooth.rows import SCHEMA
from invsmooth.units import Units

SETTING = Setting(BlockGaussian(0.5, block=8), 0.5, 5.0)
EPS, SIGMA = [0.0, 0.05], [12.0, 25.0]


@pytest.fixture
def module() -> OrdTraining:
    return OrdTraining(TrainingSetup(ISTANetPP(1, 4), [SETTING.operator], 0.0, [SETTING], 1e-3))


@pytest.fixture
def measured() -> Measured:
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return measure(SETTING, ["a/b c", "d"], x)


def attacked(
    module: OrdTraining, measured: Measured, name: str = "pgd", target: Target | None = None
) -> dict[str, Any]:
    with torch.no_grad():
        outputs = {"measured": measured, "x_hat": module.estimator(measured.y, SETTING.operator)}
    plan = AttackPlan(name, EPS, SIGMA, {"n_iter": 3}, target or Target(), seed=1)
    with torch.no_grad():  # as Lightning does
        AttackSweep(plan).on_test_batch_end(None, module, outputs, None, 0)  # type: ignore[arg-type]
    return outputs


@pytest.mark.parametrize("name", ATTACKS)
def test_one_attack_serves_every_sigma_unless_its_target_depends_on_it(module, measured, name: str) -> None:
    base = attacked(module, measured, name)["attacks"]
    assert set(base) == {(e, s) for e in EPS for s in SIGMA}
    assert base[0.05, 12.0] is base[0.05, 25.0]
    mean = attacked(module, measured, name, Target("mean", n_samples=4))["attacks"]
    assert mean[0.0, 12.0] is mean[0.0, 25.0]
    assert mean[0.05, 12.0] is not mean[0.05, 25.0]
    for sigma in SIGMA:
        direct = ATTACKS[name](
            module.estimator, SETTING.operator, measured.x, measured.b, eps=0.05, n_iter=3, seed=1,
            target=Target("mean", sigma / 255, 4), image_keys=measured.names,
        )  # fmt: skip
        torch.testing.assert_close(mean[0.05, sigma].xi, direct.xi)


def certified(folder: Path, module: OrdTraining, outputs: dict[str, Any], units: Units = Units.matched) -> pd.DataFrame:
    plan = CertifyPlan(["error", "discrepancy"], EPS, SIGMA, 30, 0.9, 0.5, units, None, 1)
    columns = {"run_id": "r", "algo": "ord", "task": "cs", "dataset": "d", "operator": "o", "attack": "pgd",
               "attack_target": "mean"}  # fmt: skip
    sweep = CertifySweep(plan, columns, folder, 0, SandwichCheck(folder, 40, 0.5, 1, None))
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
    honest = certify_sweep.certify

    def wrong(*arguments: Any, **options: Any) -> Any:
        found = honest(*arguments, **options)
        if options["certifier"] == "error":
            found.bound[1] *= 0.5
        return found

    monkeypatch.setattr(certify_sweep, "certify", wrong)
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
        module.estimator, operator, kept["x"], kept["b"], kept["xi"], certified=torch.tensor([kept["certified"]]),
        sigma=kept["sigma"] / 255, n_samples=kept["n_samples"], q=kept["quantile"], confidence=kept["confidence"],
        seed=kept["seed"], image_keys=[kept["image"]],
    )  # fmt: skip
    assert float(again.lower) == pytest.approx(kept["lower"], rel=1e-4)
    assert float(again.upper) == pytest.approx(kept["upper"], rel=1e-4)
    assert again.violated.all()


def test_published_units_are_not_checked(module, measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no certificate for this eps: there is nothing to refute."""
    monkeypatch.setattr(SandwichCheck, "error", lambda *a: pytest.fail("checked"))
    assert not certified(tmp_path, module, attacked(module, measured), Units.paper)["sound"].any()


def test_check_needs_an_attack_a_bound_and_draws(module, measured, tmp_path: Path) -> None:
    xi = pgd(module.estimator, SETTING.operator, measured.x, measured.b, eps=0.05, n_iter=2).xi
    zero, none = torch.zeros(2), torch.full((2,), torch.nan)
    check = SandwichCheck(tmp_path, 20, 0.5, 0, None)
    assert check.error(module.estimator, measured, xi, 0.0, 12.0, zero) is None
    assert check.error(module.estimator, measured, xi, 0.05, 12.0, none) is None
    assert SandwichCheck(tmp_path, 0, 0.5, 0, None).error(module.estimator, measured, xi, 0.05, 12.0, zero) is None
    check.conclude()
    assert check.error(module.estimator, measured, xi, 0.05, 12.0, zero) is not None
    with pytest.raises(CertificateViolation, match="image = a/b c"):
        check.conclude()
    assert len(list((tmp_path / "violations").glob("*.pt"))) == 2
