"""Certificate files of ``lipschitz`` and ``best``: what follows from what, and what is found when it is changed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from invsmooth.attacks.noise import Noise
from invsmooth.certificates.by_name import as_certifier
from invsmooth.core.units import Units, to_unit_scale
from invsmooth.evaluation.image import evaluate_image
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import BlockGaussian
from invsmooth.operators.measurement import Setting, measure
from invsmooth.records.certificate_files.checks import findings
from invsmooth.records.certificate_files.format import Record, checksum, read_record
from invsmooth.records.certificate_files.rerun import rerun
from invsmooth.verify import run
from tests.certificate_files.made import changed, get, leaves, pattern, save, write
from tests.certificates.nets import Scaled

TRUST = ("tests.certificates.nets",)
EPS = [0.0, 0.05, 3.0]


def make(
    folder: Path, *certifiers: str, net: dict[str, Any] | None = None, threat: str = "signal", **options: Any
) -> Path:
    """The certificate file of an image of 11 x 10 pixels, as an evaluation writes it."""
    setting = Setting(BlockGaussian(0.5, block=6, seed=3), 0.5, to_unit_scale(5.0))
    measured = measure(setting, ["a"], torch.rand(1, 1, 11, 10, generator=torch.Generator().manual_seed(0)))
    given, estimator = {"threat": threat, "n_centre": 10}, Scaled(**(net or {}))
    evaluation = Evaluation(**{
        "eps": EPS, "sigma": [to_unit_scale(s) for s in (12.0, 25.0)], "attack": Noise(n_iter=1), "n_samples": 20,
        "certifiers": [as_certifier(name, given) for name in certifiers], "confidence": 0.7, "seed": 4, **options,
    })  # fmt: skip
    found = evaluate_image(estimator, measured, evaluation).certificates
    description = {"_target_": "tests.certificates.nets.Scaled", **(net or {})}
    operator = {"name": "block_gaussian", "block": 6, "seed": 3, "matrix": None}
    (path,) = write(folder, estimator, measured, evaluation, found, operator=operator, description=description)
    return path


def sealed(record: Record) -> Record:
    return record | {"sha256": checksum(record)}


ALL = ("error", "mean", "lipschitz", "best")
VARIANTS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("lipschitz",), {}),
    (("lipschitz",), {"threat": "measurement"}),
    (ALL, {"net": {"scale": 0.5, "rho": 0.125}}),
    (ALL, {"units": Units.paper}),
    (ALL, {"over_eps": "bonferroni", "over_sigma": "bonferroni", "n_images": 3, "over_images": "bonferroni"}),
    (("error", "best"), {"sigma": [0.0]}),
]


@pytest.mark.parametrize(("certifiers", "options"), VARIANTS, ids=str)
def test_untouched_files_hold_up(tmp_path: Path, certifiers: tuple[str, ...], options: dict[str, Any], capsys) -> None:
    path = make(tmp_path, *certifiers, **options)
    assert findings(read_record(path), path) == []
    assert run([str(path), "--rerun", "--trust", *TRUST]) == 0, capsys.readouterr().out


def test_a_network_without_a_constant_has_its_reason_in_the_file(tmp_path: Path) -> None:
    path = make(tmp_path, "lipschitz", net={"rho": -1.0})
    record = read_record(path)
    certificate = record["certificates"][0]
    reason = "no certificate: the inexactness is declared as -1.0: it has to be a finite number >= 0"
    assert [row["reason"] for row in certificate["radii"]] == [reason] * 3
    assert (certificate["lipschitz"], certificate["sigma"], certificate["n_samples"]) == ("nan", None, 0)
    assert findings(record, path) == []
    assert rerun(record, path, None, None, trust=TRUST) == []
    for changes in ({"no_constant": "other"}, {"lipschitz": 1.0}):
        certificate |= changes
        assert findings(sealed(record), path)


ONLY_REDRAWN = {
    "image.key", "estimator.sha256", "operator.sha256", "operator.ratio", "operator.seed",
    "estimator.description._target_",
}  # fmt: skip
UNKNOWABLE = {"sigma_b"}


def test_changes_under_a_new_checksum(tmp_path: Path) -> None:
    """The bounds follow from L, rho, the error and eps. --rerun finds what these should be; the key of the image seeds
    nothing here."""
    path = make(tmp_path, "lipschitz", "best", net={"rho": 0.125})
    record, passed = read_record(path), dict[str, Record]()
    for place in leaves(record):
        if place[0] not in ("format", "version", "sha256"):
            other = sealed(changed(record, place))
            if not findings(other, path):
                passed[pattern(place)] = other
    description = {"estimator.description.rho"}
    assert passed.keys() == ONLY_REDRAWN | UNKNOWABLE | description
    for place, other in passed.items():
        try:
            wrong = bool(rerun(other, path, None, None, trust=TRUST))
        except ValueError:
            wrong = True
        assert wrong == (place not in {"image.key", *UNKNOWABLE}), place


def follows_from(record: Record, path: Path, changes: Record) -> Record:
    """The record with other evidence, and everything that follows from it."""
    from invsmooth.records.certificate_files.arithmetic import expected
    from invsmooth.records.certificate_files.parts import certifier_of

    found = copy.deepcopy(record)
    (certificate,) = found["certificates"]
    certificate |= changes
    again = expected(certifier_of(certificate, path, ()), certificate, 110, Units.matched)
    for row, own in zip(certificate["radii"], again["radii"], strict=True):
        row |= own
    assert findings(sealed(found), path) == []
    return sealed(found)


@pytest.mark.parametrize("field", ["lipschitz", "inexactness", "error"])
def test_wrong_evidence_is_found_when_computed_again(tmp_path: Path, field: str) -> None:
    path = make(tmp_path, "lipschitz", net={"rho": 1e-9, "scale": 0.5})
    record = read_record(path)
    value = record["certificates"][0][field]
    assert value > 0
    same = follows_from(record, path, {field: value * (1 + 1e-8)})
    assert rerun(same, path, None, None, trust=TRUST) == []
    for wrong in (value * (1 - 2e-6), value * 0.9):
        lines = rerun(follows_from(record, path, {field: wrong}), path, None, None, trust=TRUST)
        assert [line.split(": ")[1] for line in lines] == [field]
        assert lines[0].startswith(f"certificates[0] (lipschitz): {field}: recorded {wrong!r}, redrawn")


def test_the_error_may_differ_by_twice_rho(tmp_path: Path) -> None:
    """A solver may stop elsewhere on another machine."""
    path = make(tmp_path, "lipschitz", net={"rho": 0.01})
    record = read_record(path)
    error = record["certificates"][0]["error"]
    assert rerun(follows_from(record, path, {"error": error + 0.019}), path, None, None, trust=TRUST) == []
    assert rerun(follows_from(record, path, {"error": error + 0.021}), path, None, None, trust=TRUST)


def test_another_network_with_the_same_constant_is_found(tmp_path: Path) -> None:
    path = make(tmp_path, "lipschitz", net={"scale": 0.5})
    record = read_record(path)
    record["estimator"]["description"]["scale"] = -0.5
    (line,) = rerun(sealed(record), path, None, None, trust=TRUST)
    assert line.startswith("certificates[0] (lipschitz): error: recorded ")


def test_best_follows_from_the_others_of_the_file(tmp_path: Path) -> None:
    path = make(tmp_path, *ALL, net={"scale": 0.5})
    record = read_record(path)
    best = [c for c in record["certificates"] if c["certifier"] == "best"]
    assert [(c["sigma"], len(c["radii"])) for c in best] == [(s, 1) for _ in EPS for s in (12.0, 25.0)]
    assert all(c["parts"] == ["error", "mean", "lipschitz"] for c in best)
    assert [c["confidence_each"] for c in best] == pytest.approx([0.4] * 6)
    for certificate in best:
        (row,) = certificate["radii"]
        values = {}
        for other in record["certificates"]:
            if other["sigma"] in (None, certificate["sigma"]) and other["certifier"] != "best":
                (own,) = (r for r in other["radii"] if r["eps"] == row["eps"])
                values[other["certifier"]] = float(own["bound" if other["certifier"] == "error" else "certified_error"])
        known = {k: v for k, v in values.items() if v == v}
        assert row["bound"] == min(known.values())
        assert known[row["best_of"]] == row["bound"]


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": ["error", "mean"]}, {"parts": ["error", "mean", "lipschitz", "center"]},
        {"parts": ["error", "error", "mean", "lipschitz"]}, {"confidence": 0.7}, {"confidence_each": 0.7},
        {"measurement": "attacked_1"}, {"sigma": None}, {"sigma": 13.0}, {"n_samples": 20}, {"seed": 1}, {"sound": False},
        {"shared_over": {"eps": 3}}, {"simultaneous": "dkw"}, {"bound": 1e-3}, {"best_of": "error"}, {"reason": "none"},
    ],
    ids=str,
)  # fmt: skip
def test_a_changed_best_is_found(tmp_path: Path, changes: Record) -> None:
    path = make(tmp_path, *ALL, net={"scale": 0.5})
    record = read_record(path)
    best = next(c for c in record["certificates"] if c["certifier"] == "best")
    own = {k: v for k, v in changes.items() if k in ("bound", "best_of", "reason")}
    best["radii"][0] |= own
    best |= {k: v for k, v in changes.items() if k not in own}
    assert findings(sealed(record), path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sigma": 12.0}, "sigma: 12.0 is not null"),
        ({"n_samples": 10}, "n_samples: 10 is not 0"),
        ({"confidence": 0.99}, "confidence: 0.99 is not 1"),
        ({"seed": 3}, "seed: 3 is not 0"),
        ({"threat": "image"}, "threat: 'image' is not one of signal, measurement"),
        ({"inexactness": -1.0}, "inexactness: -1.0 is not finite and at least 0"),
        ({"lipschitz": "inf"}, "lipschitz: inf is not finite and at least 0"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: Record, said: str) -> None:
    path = make(tmp_path, "lipschitz")
    record = read_record(path)
    record["certificates"][0] |= changes
    assert any(said in line for line in findings(sealed(record), path))


def test_what_smooths_needs_its_sigma(tmp_path: Path) -> None:
    path = make(tmp_path, "error", sigma=[0.1])
    record = read_record(path)
    record["certificates"][0]["sigma"] = None
    assert findings(sealed(record), path) == ["certificates[0].sigma: None is not at least 0"]
    target = tmp_path / "copy.json"
    save(target, record)
    assert run([str(target)]) == 2
    assert get(record, ("certificates", 0, "sigma")) is None
