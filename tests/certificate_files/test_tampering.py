"""No field of a certificate file can be changed unnoticed; and what each kind of check would notice on its own."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.certificate_files.arithmetic import expected
from invsmooth.records.certificate_files.checks import findings
from invsmooth.records.certificate_files.format import CertificateFileError, Record, checksum, read_record
from invsmooth.records.certificate_files.parts import certifier_of
from invsmooth.records.certificate_files.rerun import rerun
from invsmooth.verify import run
from tests.certificate_files.made import KINDS, changed, get, leaves, make, pattern, save

# What follows from nothing else in the file: whoever changes it and the checksum passes without --rerun (docs/theory.md).
ONLY_REDRAWN = {
    "image.key", "estimator.sha256", "estimator.checkpoint", "operator.sha256", "operator.ratio", "operator.seed",
    "certificates[].seed",
}  # fmt: skip
DRAWS_OFF_RANK = "certificates[].draws[]"
OWN: dict[str, set[str]] = {
    # The whole image is not in the file; sigma is idle in the certificate of eps = 0 alone.
    "discrepancy": {"image.shape[]", "certificates[].sigma", DRAWS_OFF_RANK},
    "error": {DRAWS_OFF_RANK},
    "radius": {DRAWS_OFF_RANK},
    "anytime": {"certificates[].radii[].n_below"},
    "mean": {
        f"certificates[].{k}" for k in ("median", "trace_hat", "mean_offset", "mean_error", "clipped", "n_centre")
    },
    "center": {"image.shape[]", DRAWS_OFF_RANK},
}
# What not even --rerun can know: the checksum alone covers it.
UNKNOWABLE: dict[str, set[str]] = {
    "discrepancy": {"image.sha256"}, "center": {"image.sha256"},
}  # fmt: skip
BY_ONE_DRAW = {"certificates[].clipped", "certificates[].radii[].n_below"}
"""Counts that --rerun lets differ by one, because a draw can lie within rounding of the limit."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Record]]:
    made = {kind: make(tmp_path_factory.mktemp(kind), kind)[0] for kind in KINDS}
    return {kind: (path, read_record(path)) for kind, path in made.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_untouched_files_hold_up(files, kind: str) -> None:
    path, record = files[kind]
    assert findings(record, path) == []
    assert rerun(record, path, None, None) == []
    bounds = [r["bound"] for c in record["certificates"] for r in c["radii"]]
    assert any(b != "nan" for b in bounds)  # there is something to verify


@pytest.mark.parametrize("kind", KINDS)
def test_any_changed_field_is_found(files, kind: str, tmp_path: Path) -> None:
    """One leaf after the other, as a file: exit code 2."""
    path, record = files[kind]
    (tmp_path / record["measurements"]["file"]).write_bytes(path.with_suffix(".npz").read_bytes())
    target = tmp_path / path.name
    save(target, record)
    assert run([str(target)]) == 0
    places = list(leaves(record))
    assert len(places) > 50
    for place in places:
        save(target, changed(record, place))
        assert run([str(target)]) == 2, place


@pytest.mark.parametrize("kind", KINDS)
def test_changes_under_a_new_checksum(files, kind: str) -> None:
    """The arithmetic finds all but what is listed, and --rerun finds that, but for what nobody can know from the file."""
    path, record = files[kind]
    passed: dict[str, Record] = {}
    for place in leaves(record):
        if place[0] in ("format", "version", "sha256"):
            continue
        sealed = changed(record, place)
        sealed["sha256"] = checksum(sealed)
        if not findings(sealed, path):
            passed[pattern(place)] = sealed
    unknowable = {"sigma_b"} | UNKNOWABLE.get(kind, set())
    assert passed.keys() == ONLY_REDRAWN | OWN[kind] | unknowable
    for place, sealed in passed.items():
        assert bool(refuted(sealed, path)) == (place not in unknowable | BY_ONE_DRAW), place


def refuted(record: Record, path: Path) -> list[str]:
    try:
        return rerun(record, path, None, None)
    except CertificateFileError as error:
        return [str(error)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_bounds_follow_from_is_found_by_arithmetic(files, kind: str) -> None:
    """Each with the field and both numbers in the message, whatever the checksum says."""
    path, record = files[kind]
    inputs = {"n_samples", "confidence", "confidence_each", "bound", "k_index", "ratio", "q_bar", "reason", "sound",
              "quantile", "lambda_hat", "radius", "centre_error", "n_pred", "share_in_ball", "certified_eps", "n_drawn",
              "abstained", "anytime", "decision", "shared_over"}  # fmt: skip
    for place in leaves(record["certificates"]):
        if inputs & {str(k) for k in place}:
            sealed = changed(record, ("certificates", *place))
            sealed["sha256"] = checksum(sealed)
            assert findings(sealed, path), place
    place = ("certificates", 0, "radii", 0, "bound")
    sealed = changed(record, place)
    sealed["sha256"] = checksum(sealed)
    if get(record, place) != "nan":
        (line,) = findings(sealed, path)
        certifier = record["certificates"][0]["certifier"]
        assert line.startswith(f"certificates[0] ({certifier}, sigma = 25): radii[0].bound: recorded ")
        assert repr(get(sealed, place)) in line
        assert repr(get(record, place)) in line


@pytest.mark.parametrize("kind", KINDS)
def test_missing_unknown_and_wrong_kinds_of_fields(files, kind: str) -> None:
    """Whatever is put into a place, there are findings and no exception."""
    path, record = files[kind]
    for place in leaves(record):
        if "draws" in place and place[-1] != 0:
            continue
        for value in (None, True, "text", -1, 0, 2**70, 1e308, [], {}, "nan"):
            other = copy.deepcopy(record)
            holder = get(other, place[:-1])
            if type(value) is type(get(record, place)) and value == get(record, place):
                continue
            holder[place[-1]] = value
            assert findings(other, path), (place, value)
        other = copy.deepcopy(record)
        del get(other, place[:-1])[place[-1]]
        assert findings(other, path), place
    other = copy.deepcopy(record)
    other["certificates"][0]["radii"][0]["note"] = "certified"
    assert any("note: is no field" in line for line in findings(other, path))
    for place in (("certificates",), ("certificates", 0, "radii")):
        other = copy.deepcopy(record)
        get(other, place).append(get(other, place)[0])
        other["sha256"] = checksum(other)
        assert any("is there twice" in line for line in findings(other, path))


def test_measurements_are_part_of_the_file(tmp_path: Path) -> None:
    path = make(tmp_path, "error")[0]
    other = make(tmp_path / "other", "error")[1]
    arrays = path.with_suffix(".npz")
    original = arrays.read_bytes()
    for content, said in [
        (other.with_suffix(".npz").read_bytes(), "measurements.arrays.clean.sha256: recorded"),
        (original[:200], "cannot be read"),
        (b"", "cannot be read"),
    ]:
        arrays.write_bytes(content)
        assert any(said in line for line in findings(read_record(path), path))
    arrays.unlink()
    assert any("the measurements are missing" in line for line in findings(read_record(path), path))


def test_published_units_keep_their_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path, "error", units=Units.paper)[0]
    record = read_record(path)
    (certificate,) = record["certificates"]
    assert (record["label"], certificate["sound"]) == (PAPER_LABEL, False)
    assert certificate["radii"][1]["ratio"] == pytest.approx(0.03 / 25)
    assert run([str(path), "--rerun"]) == 0
    assert PAPER_LABEL in capsys.readouterr().out
    for wrong in ({"label": ""}, {"units": "matched"}, {"units": "matched", "label": ""}):
        sealed = record | wrong
        assert findings(sealed | {"sha256": checksum(sealed)}, path)


def test_a_band_of_one_measurement_joins_no_other(tmp_path: Path) -> None:
    """Under dkw each radius of discrepancy pays by itself, beside the bands of others; a file that says otherwise does not
    hold up, whatever its arithmetic."""
    path = make(tmp_path, "discrepancy", "error", over_eps="dkw", n_samples=60)[0]
    record = read_record(path)
    assert findings(record, path) == []
    of = {c["certifier"]: c for c in record["certificates"]}
    assert of["error"]["simultaneous"] == "dkw"
    assert of["error"]["shared_over"] == {}
    assert (of["discrepancy"]["simultaneous"], of["discrepancy"]["shared_over"]) == ("none", {"eps": 3})
    assert of["discrepancy"]["confidence_each"] == pytest.approx(0.9)
    claimed = copy.deepcopy(record)
    for certificate in claimed["certificates"]:
        if certificate["certifier"] == "discrepancy":
            certificate |= {"simultaneous": "dkw", "shared_over": {}}
            again = expected(certifier_of(certificate, path, ()), certificate, 110, Units.matched)
            for row, new in zip(certificate["radii"], again.pop("radii"), strict=True):
                row |= new
            certificate |= again
    assert {f.split(": ", 1)[1] for f in findings(claimed | {"sha256": checksum(claimed)}, path)} == {
        f"simultaneous: a dkw band is of one measurement, and eps = {e:g} is at another" for e in (0.0, 0.03)
    }  # fmt: skip


def test_the_certified_eps_is_in_the_unit_of_the_files_eps(tmp_path: Path) -> None:
    found = {}
    for units in Units:
        path = make(tmp_path / units, "radius", units=units)[0]
        record = read_record(path)
        assert findings(record, path) == []
        assert rerun(record, path, None, None) == []
        found[units] = record["certificates"][0]["certified_eps"]
    assert found[Units.paper] == pytest.approx(255 * found[Units.matched])
