"""Certificate files of certifiers and operators that are not ours."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from invsmooth.estimators import MatchedFilter
from invsmooth.operators.measurement import Setting, measure
from invsmooth.records.certificate_files.checks import findings
from invsmooth.records.certificate_files.format import checksum, read_record
from invsmooth.records.certificate_files.rerun import rerun
from invsmooth.verify import run
from tests.certificate_files.made import certified_at, evaluation_of, write
from tests.certificate_files.outside import Cautious, EveryOther

TRUST = ("tests.certificate_files.outside",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    setting = Setting(EveryOther(2), 1.0, 0.0)
    measured = measure(setting, ["x"], torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    evaluation = evaluation_of([Cautious(3.0), "error"], [0.0, 0.01, 9.0], n_samples=30, confidence=0.7)
    estimator = MatchedFilter()
    found = certified_at("clean", estimator, measured, evaluation, measured.y, [0.0, 0.01, 9.0])
    operator = {"_target_": f"{TRUST[0]}.EveryOther", "parameters": {"step": 2}}
    description = {"_target_": "invsmooth.estimators.MatchedFilter"}
    (written,) = write(tmp_path, estimator, measured, evaluation, found, operator=operator, description=description)
    return written


def test_they_hold_up_with_trust_and_are_refused_without(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = read_record(path)
    assert findings(record, path, TRUST) == []
    assert rerun(record, path, None, None, trust=TRUST) == []
    assert run([str(path), "--trust", TRUST[0], "--rerun"]) == 0
    capsys.readouterr()
    assert run([str(path)]) == 3
    out = capsys.readouterr().out
    assert f"--trust {TRUST[0]}" in out
    assert f"NOT CHECKED  {path}" in out
    assert "1 files, 0 hold up with 0 certificates, 0 do not, 1 not checked" in out


def test_lies_about_them_are_found(path: Path) -> None:
    record = read_record(path)
    cautious = next(i for i, c in enumerate(record["certificates"]) if c["certifier"] == "cautious")
    assert record["certificates"][cautious]["parameters"] == {"factor": 3.0}
    for change, said in (
        ({"parameters": {"factor": 2.0}}, "bound: recorded"),
        ({"parameters": {"factor": 0.5}}, "factor=0.5 has to be at least 1"),
        ({"parameters": {"factors": 2.0}}, "cannot be made"),
        ({"parameters": 3}, "cannot be made"),
        ({"certifier": "error"}, "is no certifier named 'error'"),
        ({"_target_": "os.system"}, "is not imported"),
        ({"_target_": f"{TRUST[0]}.EveryOther"}, "is no certifier"),
        ({"_target_": 3}, "is no dotted name"),
    ):
        other = copy.deepcopy(record)
        other["certificates"][cautious] |= change
        other["sha256"] = checksum(other)
        assert any(said in line for line in findings(other, path, TRUST)), change
    other = copy.deepcopy(record)
    other["operator"]["parameters"] = {"step": 4}
    other["sha256"] = checksum(other)
    with pytest.raises(ValueError, match=r"operator\.sha256"):
        rerun(other, path, None, None, trust=TRUST)
