"""The evaluation of a batch of two measured images."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from invsmooth.attacks import APGD, PGD, Noise, Search, Target, attack
from invsmooth.cache import not_kept
from invsmooth.certificates import Certificate, order_statistic_index, pixel_intervals, shifted_quantile
from invsmooth.certificates.by_name import as_certifier
from invsmooth.certificates.discrepancy import Discrepancy
from invsmooth.checks import truth
from invsmooth.core.declarations import Column
from invsmooth.core.errors import PremiseError
from invsmooth.core.units import PAPER_LABEL, Units, to_unit_scale
from invsmooth.estimators import ISTANetPP, LipNet
from invsmooth.estimators.fastest import fastest
from invsmooth.estimators.premises import checked
from invsmooth.evaluation.attacked import AttackedImages, attack_all
from invsmooth.evaluation.certified import Certified, certify_at, check_truth
from invsmooth.evaluation.image import ImageResult, evaluate_image
from invsmooth.evaluation.settings import Evaluation
from invsmooth.metrics import psnr
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.measurement import Measured, Setting, measure
from invsmooth.records.pictures import KINDS
from invsmooth.records.rows import SCHEMA, Declared, to_table
from invsmooth.reporting.together import statements

SETTING = Setting(BlockGaussian(0.5, block=8), 0.5, to_unit_scale(5.0))
GREY = [12.0, 25.0]
EPS, SIGMA = [0.0, 0.05], [to_unit_scale(s) for s in GREY]
ALL = ["discrepancy", "error", "radius", "mean", "center"]
PARAMETERS = {"threshold": 0.3, "n_pred": 3000}
RUN = dict.fromkeys(
    ("run_id", "algo", "task", "estimator", "dataset", "operator", "attack", "attack_target", "estimator_sha256",
     "scale"), ""
)  # fmt: skip


@pytest.fixture
def net() -> torch.nn.Module:
    torch.manual_seed(1)
    return ISTANetPP(1, 4)


@pytest.fixture
def measured() -> Measured:
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return measure(SETTING, ["a/b c", "d"], x)


Attacks = dict[tuple[float, float], AttackedImages]
"""By (eps, sigma)."""


def settings(*certifiers: str, n_samples: int = 60, parameters: dict[str, Any] = PARAMETERS, **more: Any) -> Evaluation:
    chosen = [as_certifier(c, parameters) for c in certifiers]
    given = {"attack": PGD(n_iter=3), "check_samples": 0, "confidence": 0.9, "seed": 1} | more
    return Evaluation(eps=EPS, sigma=given.pop("sigma", SIGMA), certifiers=chosen, n_samples=n_samples, **given)


def rows_of(result: ImageResult, evaluation: Evaluation) -> pd.DataFrame:
    declared = Declared({c.name: c.declared for c in evaluation.certifiers})
    return to_table([row | RUN for row in result.rows], declared).to_pandas()


def rows(net: torch.nn.Module, measured: Measured, evaluation: Evaluation) -> pd.DataFrame:
    return rows_of(evaluate_image(net, measured, evaluation), evaluation)


def attacked(net: torch.nn.Module, measured: Measured, evaluation: Evaluation) -> Attacks:
    with torch.no_grad():
        known = checked(net, SETTING.operator, measured.y, measured.x)
        found = attack_all(known, measured, evaluation, not_kept)
    return {cell: found[cell[0], evaluation.target_of(*cell)] for cell in evaluation.cells}


@pytest.mark.parametrize("search", [PGD(n_iter=3), APGD(n_iter=3), Noise(n_iter=3)], ids=["pgd", "apgd", "noise"])
def test_one_attack_serves_every_sigma_unless_its_target_depends_on_it(net, measured, search: Search) -> None:
    base = attacked(net, measured, settings("error", attack=search))
    assert set(base) == {(e, s) for e in EPS for s in SIGMA}
    assert base[0.05, SIGMA[0]] is base[0.05, SIGMA[1]]
    mean = attacked(net, measured, settings("error", attack=search, target=Target("mean", n_samples=4)))
    assert mean[0.0, SIGMA[0]] is mean[0.0, SIGMA[1]]
    assert mean[0.05, SIGMA[0]] is not mean[0.05, SIGMA[1]]
    for sigma in SIGMA:
        direct = attack(
            search, net, SETTING.operator, measured.x, measured.b, eps=0.05, seed=1, target=Target("mean", sigma, 4),
            image_keys=measured.names,
        )  # fmt: skip
        torch.testing.assert_close(mean[0.05, sigma].found.xi, direct.xi)


class OtherThanAlone(torch.nn.Module):
    def forward(self, y: torch.Tensor, operator: BlockGaussian) -> torch.Tensor:
        return operator.A_adjoint(y - y.mean(0, keepdim=True))


class Staircase(torch.nn.Module):
    def forward(self, y: torch.Tensor, operator: BlockGaussian) -> torch.Tensor:
        return (operator.A_adjoint(y) * 255).round() / 255 + 0 * operator.A_adjoint(y)


def test_an_evaluation_checks_its_network(measured) -> None:
    with pytest.raises(PremiseError, match="depend on others of their batch"):
        evaluate_image(OtherThanAlone(), measured, settings("error"))


def test_an_evaluation_checks_once(net, measured) -> None:
    """Two images more than f(y) of the two images; the attacks on them (one pass at eps = 0, four
    at the other), f under each attack and its control, and one draw where there is no noise."""
    seen: list[int] = []
    with fastest(net, SETTING.operator, measured.y):
        pass  # compares the memory formats, once for a network
    net.register_forward_pre_hook(lambda net, arguments: seen.append(len(arguments[0])))
    evaluate_image(net, measured, settings("error", sigma=[0.0]))
    assert sum(seen) == 2 + 2 + 2 * (1 + 4) + 2 * 2 * 2 + 2


def test_the_estimator_is_left_as_it_was(net, measured) -> None:
    net.train()
    evaluate_image(net, measured, settings("error"))
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_rows_say_that_the_gradient_was_zero(measured) -> None:
    with pytest.warns(UserWarning, match="gradient is zero"):
        found = rows(Staircase(), measured, settings("error"))
    assert (found["attack_zero_gradient"] == (found["eps"] > 0)).all()


def test_rows_of_a_smoothed_target(net, measured) -> None:
    evaluation = settings("error", "discrepancy", n_samples=30, check_samples=40, target=Target("mean", n_samples=4))
    result = evaluate_image(net, measured, evaluation)
    found = rows_of(result, evaluation)
    assert list(found.columns)[: len(SCHEMA)] == SCHEMA.names
    assert len(found) == 2 * 2 * 2 * 2  # images × eps × sigma × certifiers
    assert sorted(set(found["sigma"])) == GREY
    assert set(found["sigma_b"]) == {5.0}
    # Each sigma has its own attack: the attacked reconstructions differ.
    quality = found[found["eps"] == 0.05].groupby(["image", "certifier"])["psnr_attacked"]
    assert (quality.nunique() == 2).all()
    evals = found.set_index("eps")["attack_grad_evals"]
    assert set(evals[0.05]) == {12}  # 3 gradients of 4 draws
    assert set(evals[0.0]) == {0}
    attacks = attacked(net, measured, evaluation)
    for sigma, grey in zip(SIGMA, GREY, strict=True):
        y = SETTING.operator.A(measured.x + attacks[0.05, sigma].found.xi) + measured.b
        error = (net(y, SETTING.operator) - measured.x).flatten(1).square().mean(1)
        row = found[(found["eps"] == 0.05) & (found["sigma"] == grey) & (found["certifier"] == "error")]
        unclipped = (-10 * error.log10()).tolist()
        assert row["psnr_attacked"].tolist() >= [u - 1e-4 for u in unclipped]
    assert not result.violations


def test_published_units_are_not_checked(net, measured, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no certificate for this eps: there is nothing to refute."""
    monkeypatch.setattr(truth, "check_error", lambda *a, **k: pytest.fail("checked"))
    assert not rows(net, measured, settings("error", "discrepancy", check_samples=40, units=Units.paper))["sound"].any()


def one_certificate(net: torch.nn.Module, measured: Measured, evaluation: Evaluation, at: str) -> Certified:
    """Of eps = 0.05 at the first sigma."""
    with torch.no_grad():
        known = checked(net, SETTING.operator, measured.y, measured.x)
        attacks = attacked(net, measured, evaluation)
        y = attacks[0.05, SIGMA[0]].y if at == "attacked" else measured.y
        found = certify_at(at, known, measured, evaluation, not_kept, y=y, eps=[0.05], sigma=SIGMA[0])
    return found[0]


def checked_truth(net, measured, evaluation: Evaluation, found: Certified, eps: float = 0.05, xi: float = 1) -> Any:
    with torch.no_grad():
        known = checked(net, SETTING.operator, measured.y, measured.x)
        case = attacked(net, measured, evaluation)[0.05, SIGMA[0]]
        case = dataclasses.replace(case, found=dataclasses.replace(case.found, xi=xi * case.found.xi))
        found = dataclasses.replace(found, eps=[eps])
        return check_truth(known, measured, evaluation, case, found, eps)


def with_bound(found: Certified, bound: torch.Tensor) -> Certified:
    return dataclasses.replace(found, certificate=dataclasses.replace(found.certificate, bound=bound))


def test_check_needs_an_attack_a_bound_and_draws(net, measured) -> None:
    evaluation = settings("error", n_samples=40, check_samples=20)
    honest = one_certificate(net, measured, evaluation, "clean")
    zero, none = (with_bound(honest, torch.full((2, 1), value)) for value in (0.0, torch.nan))
    assert checked_truth(net, measured, evaluation, zero, eps=0.0) is None
    assert checked_truth(net, measured, evaluation, none) is None
    assert checked_truth(net, measured, dataclasses.replace(evaluation, check_samples=0), zero) is None
    assert checked_truth(net, measured, evaluation, zero).violated.all()


@pytest.mark.parametrize("certifier", ALL)
def test_every_certificate_is_compared_with_the_truth(net, measured, certifier: str) -> None:
    """In the rows: the truth lies within its limits and below the bound. A bound that claims next
    to nothing is refuted."""
    evaluation = settings(certifier, check_samples=400)
    found = rows(net, measured, evaluation)
    found = found[found["eps"] > 0]
    assert (found["truth_lower"] <= found["truth"]).all()
    assert (found["truth"] <= found["truth_upper"]).all()
    assert (found["truth"] <= found["bound"]).all()
    assert ((found["psnr_noise"] - found["psnr_clean"]).abs() < 0.5).all()
    assert (found["psnr_noise"] != found["psnr_clean"]).all()
    at = "attacked" if certifier == "discrepancy" else "clean"
    honest = one_certificate(net, measured, evaluation, at)
    wrong = with_bound(honest, honest.certificate.bound * 1e-6)
    # The limit of a mean is slow to rise above 0: a shift that is large against the ball's radius
    # is seen.
    many = dataclasses.replace(evaluation, check_samples=4000) if certifier == "mean" else evaluation
    assert checked_truth(net, measured, many, wrong, xi=20 if certifier == "mean" else 1).violated.any()


@pytest.mark.parametrize("radius_of", ["error", "discrepancy"])
def test_the_radius_is_checked_as_what_it_is_about(net, measured, radius_of: str) -> None:
    """Alone; beside error, whose bound is below the threshold, only where it is about the
    discrepancy."""
    parameters = {"threshold": 0.3, "radius_of": radius_of}
    alone = settings("radius", check_samples=40, parameters=parameters)
    beside = settings("radius", "error", check_samples=40, parameters=parameters)
    assert alone.is_checked(alone.certifiers[0])
    assert beside.is_checked(beside.certifiers[0]) == (radius_of == "discrepancy")
    found = one_certificate(net, measured, alone, "clean")
    check = checked_truth(net, measured, alone, found)
    about = settings(radius_of, check_samples=40).certifiers[0]
    reference = measured.x if radius_of == "error" else net(measured.y, SETTING.operator).detach()
    errors = draws_under_attack(net, measured, alone, reference, 40)
    assert about.name == radius_of
    torch.testing.assert_close(check.estimate, errors.sort(dim=1).values[:, 19])
    torch.testing.assert_close(check.certified, torch.full((2,), 0.3, dtype=check.certified.dtype))


def draws_under_attack(net, measured, evaluation: Evaluation, reference: torch.Tensor, n: int) -> torch.Tensor:
    """The MSE to a reference of the fresh draws of the check."""
    from invsmooth.certificates.draws import Draws

    y = attacked(net, measured, evaluation)[0.05, SIGMA[0]].y
    draws = Draws(net.eval(), SETTING.operator, y, SIGMA[0], measured.x.shape[1:], truth.check_seed(1), measured.names)
    with torch.no_grad():
        return torch.cat([(f - reference[:, None]).square().flatten(2).mean(2) for _, f in draws.chunks(0, n)], 1)


def test_of_center_the_ball_is_checked(net, measured) -> None:
    """Its radius R-hat bounds the 1/2 + Delta quantile of the distances to the centre, also under
    the attack; the row has 3 times that, squared."""
    evaluation = settings("center", check_samples=40)
    found = one_certificate(net, measured, evaluation, "clean")
    check = checked_truth(net, measured, evaluation, found)
    errors = draws_under_attack(net, measured, evaluation, found.certificate.shown, 40)
    torch.testing.assert_close(check.estimate, 9 * errors.sort(dim=1).values[:, 21])  # ceil(0.55 · 40)
    torch.testing.assert_close(check.certified.double(), found.certificate.bound[:, 0])


def test_all_certifiers_fill_their_columns(net, measured) -> None:
    evaluation = settings(
        *ALL, check_samples=20, over_sigma="bonferroni", over_eps="bonferroni", n_images=2,
        parameters={"threshold": 0.3, "n_pred": 2000},
    )  # fmt: skip
    found = rows(net, measured, evaluation)
    assert len(found) == 2 * 2 * 2 * 5
    assert set(found["simultaneous"]) == {"eps, sigma"}
    assert set(found["confidence"]) == {0.9}
    # The mean holds at all eps anyway: only the sigma share its confidence.
    each = found.groupby("certifier")["confidence_each"].unique()
    assert all(v == pytest.approx([1 - 0.1 / (2 if certifier == "mean" else 4)]) for certifier, v in each.items())
    filled: dict[str, set[str]] = {
        "discrepancy": {"discrepancy_median", "discrepancy_certified"}, "error": {"certified_psnr"},
        "radius": {"certified_eps"}, "center": set(),
        "mean": {"certified_psnr_mean", "ball_radius", "clipped", "bound_chi_square", "bound_total_variation",
                 "bound_trace"},
    }  # fmt: skip
    for certifier, own in filled.items():
        mine = found[found["certifier"] == certifier]
        for column in set().union(*filled.values()):
            assert mine[column].notna().any() == (column in own), (certifier, column)
        assert mine["bound"].notna().any(), certifier
        assert mine["psnr_certified"].notna().any() == (certifier in ("discrepancy", "error", "radius"))
    mean = found[found["certifier"] == "mean"]
    assert (mean["bound"] <= mean[["bound_chi_square", "bound_total_variation"]].min(axis=1) * (1 + 1e-9)).all()


def test_confidence_is_shared_out_as_asked_for(net, measured) -> None:
    """The rank of a certificate among several that hold together is that of the smaller failure
    probability."""
    paid = dict.fromkeys(("over_eps", "over_sigma", "over_images"), "bonferroni")
    evaluation = settings("discrepancy", "error", n_samples=200, n_images=2, **paid)
    found = rows(net, measured, evaluation)
    for _, row in found.iterrows():
        q_bar = shifted_quantile(0.5, row["eps_over_sigma"], 1)
        assert row["k_index"] == order_statistic_index(200, q_bar, 1 - 0.1 / (2 * 2 * 2))
    assert set(found["simultaneous"]) == {"eps, sigma, images"}


@pytest.mark.parametrize("target", ["base", "mean"])
def test_under_dkw_what_is_taken_at_measurements_of_its_own_pays_for_their_union(net, measured, target: str) -> None:
    """One band joins the radii of one measurement. ``discrepancy`` has another for each radius (and
    sigma, where the attack depends on it): exact ranks, with the confidence shared out. Also of
    ``radius`` about the discrepancy, which is taken at the clean measurement, the band serves."""
    evaluation = settings(
        "discrepancy", "error", "radius", "center", "mean", n_samples=200, n_images=2, over_eps="dkw",
        over_sigma="bonferroni", target=Target(target, n_samples=2),
        parameters={"threshold": 0.3, "radius_of": "discrepancy", "n_pred": 1500},
    )  # fmt: skip
    found = rows(net, measured, evaluation)
    assert len(found) == 2 * 2 * 2 * 5
    for _, row in found.iterrows():
        own = row["certifier"] == "discrepancy"
        assert row["confidence_each"] == pytest.approx(1 - 0.1 / (2 * (len(EPS) if own else 1)))
        assert row["simultaneous"] == "eps, sigma"
        assert row["joint_over_eps"] == (not own)
        if row["certifier"] in ("discrepancy", "error", "radius"):
            q_bar = shifted_quantile(0.5, row["eps_over_sigma"], 1)
            assert row["k_index"] == order_statistic_index(200, q_bar, row["confidence_each"], dkw=not own)
    # As the report counts: of each image and sigma two ranks of discrepancy, and one band, radius,
    # mean, and centre.
    declared = Declared({c.name: c.declared for c in evaluation.certifiers})
    counted = statements(found.assign(folder=""), declared).groupby("certifier")["statement"].nunique()
    cells = 2 * 2
    assert dict(counted) == {"discrepancy": 2 * cells} | dict.fromkeys(["error", "radius", "center", "mean"], cells)


def test_rows_say_where_no_draws_could_give_a_certificate(net, measured) -> None:
    found = rows(net, measured, settings("error", n_samples=3))
    assert found["impossible"].tolist() == found["bound"].isna().tolist()
    assert found["impossible"].any()
    assert (found["reason"] != "").equals(found["impossible"])


def test_the_certified_eps_is_in_the_unit_of_its_row(net, measured) -> None:
    """As published, eps divided by grey levels: the certified eps is that number, too."""
    found = {}
    for units in Units:
        of = rows(net, measured, settings("radius", sigma=[SIGMA[1]], units=units))
        found[units] = of["certified_eps"]
        ratio = of["certified_eps"] / (25.0 if units is Units.paper else 25 / 255)
        assert (of["bound"].notna() == (of["eps_over_sigma"] <= ratio)).all()
    assert found[Units.matched].notna().all()
    np.testing.assert_allclose(found[Units.paper], 255 * found[Units.matched])


def test_radius_is_decided_with_as_few_draws_as_it_takes(net, measured) -> None:
    found = {}
    for anytime in (False, True):
        parameters = {"threshold": 0.3, "anytime": anytime}
        found[anytime] = rows(net, measured, settings("radius", n_samples=500, parameters=parameters))
    assert found[True]["bound"].equals(found[False]["bound"])
    assert (found[True]["n_samples"] < 100).all()
    assert (found[False]["n_samples"] == 500).all()


@pytest.mark.parametrize(
    ("certifiers", "kind", "units"),
    [(["discrepancy", "mean"], "pointwise", Units.matched), (["error"], "bonferroni", Units.paper),
     (["error"], "none", Units.matched)],
)  # fmt: skip
def test_pixel_intervals_beside_the_pictures(net, measured, certifiers, kind, units) -> None:
    """Of the first image, at the measurement of the first certifier, with the plan's share of the
    confidence. No DKW band is of a pixel: under dkw, too, the radii share it."""
    options = {"units": units, "over_sigma": "bonferroni", "over_eps": "dkw", "pixel_intervals": kind, "pictures": 1}
    evaluation = settings(*certifiers, **options)
    assert not evaluate_image(net, measured, evaluation, number=1).pictures
    pictures = evaluate_image(net, measured, evaluation).pictures
    assert set(pictures) == set(evaluation.cells)
    kept = pictures[0.05, SIGMA[1]]
    if kind == "none":
        assert set(kept) <= set(KINDS)
        return
    y = measured.y
    if certifiers[0] == "discrepancy":
        y = attacked(net, measured, evaluation)[0.05, SIGMA[1]].y
    expected = pixel_intervals(
        net, SETTING.operator, y, sigma=25 / 255, eps=0.05 / (255 if units is Units.paper else 1), q=0.5,
        n_samples=60, confidence=1 - 0.1 / 4, simultaneous="bonferroni" if kind == "bonferroni" else "none", seed=1,
        image_keys=measured.names,
    )  # fmt: skip
    np.testing.assert_array_equal(kept["lower"], expected.lower[0, 0])
    np.testing.assert_array_equal(kept["upper"], expected.upper[0, 0])
    assert (kept["lower"] < kept["upper"]).all()
    assert kept["upper"].dtype == np.float32
    assert kept["pixel_intervals"] == kind
    whose = "all pixels of the image together" if kind == "bonferroni" else "each pixel on its own"
    said = f"interval of the 0.5-quantile of each pixel; confidence 0.9: {whose}, and over all eps, sigma"
    assert str(kept["label"]) == said + (f"; {PAPER_LABEL}" if units is Units.paper else "")


class Mine(Discrepancy):
    """A certifier of someone else, taken at the attacked measurement."""

    name = "mine"
    declared = dataclasses.replace(Discrepancy.declared, name="mine", columns=(Column("mine", "", "Seven."),))

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        return {"mine": 7.0}


def test_a_certifier_of_someone_else_shares_the_draws_and_has_its_own_column(net, measured) -> None:
    seen: list[int] = []
    net.register_forward_pre_hook(lambda net, arguments: seen.append(len(arguments[0])))
    ours = settings("discrepancy")
    alone = rows(net, measured, ours)
    n_alone = sum(seen)
    both = dataclasses.replace(ours, certifiers=[*ours.certifiers, Mine()])
    found = rows(net, measured, both).set_index("certifier")
    assert sum(seen) == 2 * n_alone
    assert (found.loc["mine", "mine"] == 7).all()
    assert found.loc["discrepancy", "mine"].isna().all()
    assert found.loc["mine", "bound"].tolist() == alone["bound"].tolist() == found.loc["discrepancy", "bound"].tolist()


def test_in_bfloat16_everything_is_of_the_network_as_it_runs(net: torch.nn.Module, measured: Measured) -> None:
    plain = evaluate_image(net, measured, settings("error", "mean"))
    coarse = evaluate_image(net, measured, settings("error", "mean", precision="bf16"))
    assert {row["precision"] for row in plain.rows} == {"fp32"}
    assert {row["precision"] for row in coarse.rows} == {"bf16"}
    of_attack = settings("error", attack_precision="bf16")
    for output, said in ((plain, "fp32"), (coarse, "bf16"), (evaluate_image(net, measured, of_attack), "bf16")):
        assert {row["attack_precision"] for row in output.rows if row["eps"] > 0} == {said}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        x_hat = net.eval()(measured.y, SETTING.operator).float()
    expected = psnr(x_hat, measured.x).tolist()
    clean = {row["image"]: row["psnr_clean"] for row in coarse.rows}
    assert list(clean.values()) == pytest.approx(expected, abs=1e-4)
    assert list(clean.values()) != [row["psnr_clean"] for row in plain.rows[: len(clean)]]
    for one, other in zip(plain.rows, coarse.rows, strict=True):
        assert other["bound"] == pytest.approx(one["bound"], rel=0.1, nan_ok=True)


def test_a_network_in_bfloat16_has_no_proven_constant(measured: Measured) -> None:
    setting = Setting(Identity(), 1.0, 0.0)
    images = measure(setting, measured.names, measured.x)
    rows = evaluate_image(LipNet(1, 4, 3, 1), images, settings("lipschitz", precision="bf16")).rows
    assert all(np.isnan(row["bound"]) and "no Lipschitz constant" in row["reason"] for row in rows)
