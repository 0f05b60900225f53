"""What a certificate file alone tells about itself: checksum, consistency, arithmetic. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from invsmooth.certificates.certifier import Certifier
from invsmooth.certificates.fields import Range
from invsmooth.core.hashes import array_sha256
from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.certificate_files import fields
from invsmooth.records.certificate_files.arithmetic import differences, expected, settings_of
from invsmooth.records.certificate_files.combined import expected_of_parts
from invsmooth.records.certificate_files.fields import out_of_range
from invsmooth.records.certificate_files.format import CertificateFileError, Record, checksum, not_checked, read_arrays
from invsmooth.records.certificate_files.parts import certifier_of, class_of, own_fields


def findings(record: Record, path: Path, trust: Sequence[str] = ()) -> list[str]:
    """All that is wrong with a file that was read from ``path``, one message each. ``trust``:
    modules that the user named, for certifiers that are not ours (:mod:`invsmooth.core.trust`)."""
    if wrong := structure_errors(record, path, trust):
        return wrong
    wrong = list(out_of_range(record))
    for i, certificate in enumerate(record["certificates"]):
        kind = class_of(certificate, path, trust)
        wrong += out_of_range(certificate, settings_of_kind(kind) | dict(kind.ranges), where=f"certificates[{i}]")
    if wrong:
        return wrong
    found = []
    if record["sha256"] != (recomputed := checksum(record)):
        found.append(f"sha256: recorded {record['sha256']}, recomputed {recomputed}: the file was changed")
    found += file_errors(record)
    for i, certificate in enumerate(record["certificates"]):
        where = name_of(record, i)
        try:
            certifier = certifier_of(certificate, path, trust)
            if certifier.declared.at == "cell":
                again = expected_of_parts(record, certificate, certifier, lambda c: certifier_of(c, path, trust))
                found += [f"{where}: {message(*difference)}" for difference in differences(certificate, again)]
            else:
                found += [f"{where}: {error}" for error in certificate_errors(record, certificate, certifier)]
        except (ValueError, ArithmeticError, IndexError) as error:
            found.append(f"{where}: cannot be recomputed: {error}")
    return found + list(array_errors(record, path, trust))


def untrusted(record: Record, path: Path, trust: Sequence[str] = ()) -> set[str]:
    """Of the findings those that say that a certifier's module is not trusted: the file may be right."""
    found = set()
    for i, certificate in enumerate(record["certificates"] if isinstance(record.get("certificates"), list) else ()):
        try:
            class_of(certificate if isinstance(certificate, dict) else {}, path, trust)
        except CertificateFileError as error:
            found |= {f"certificates[{i}].{error}"} if not_checked(error) else set()
    return found


def settings_of_kind(kind: type[Certifier]) -> dict[str, Range]:
    """What may stand in the settings of a certificate, by what its certifier does."""
    if kind.declared.at == "cell":
        return fields.COMBINED
    return fields.SMOOTHED if kind.declared.smooths else fields.UNSMOOTHED


def structure_errors(record: Record, path: Path, trust: Sequence[str]) -> list[str]:
    """What is wrong with the fields of a file. If there is something, no more can be checked."""
    if found := list(fields.file_errors(record)):
        return found
    for i, certificate in enumerate(record["certificates"]):
        where = f"certificates[{i}]"
        try:
            own = own_fields(class_of(certificate if isinstance(certificate, dict) else {}, path, trust), certificate)
            found += fields.certificate_errors(certificate, own, where)
        except (CertificateFileError, NotImplementedError) as error:
            found.append(f"{where}.{error}")
    return found


def name_of(record: Record, i: int) -> str:
    certificate = record["certificates"][i]
    smoothed = "" if certificate["sigma"] is None else f", sigma = {certificate['sigma']:g}"
    return f"certificates[{i}] ({certificate['certifier']}{smoothed})"


def message(field: str, recorded: object, recomputed: object) -> str:
    return f"{field}: recorded {recorded!r}, recomputed {recomputed!r}"


def file_errors(record: Record) -> Iterator[str]:
    """Units, label, and whether the confidence was shared over all sigma and eps there."""
    if record["units"] not in list(Units):
        yield f"units: {record['units']!r} is none of {', '.join(Units)}"
    if record["label"] != (label := PAPER_LABEL if record["units"] == Units.paper else ""):
        yield message("label", record["label"], label)
    estimator = record["estimator"]
    if estimator["checkpoint"] is not None and estimator["description"] is not None:
        yield "estimator: has a checkpoint as well as a description"
    grid = {"sigma": {c["sigma"] for c in record["certificates"]} - {None},
            "eps": {r["eps"] for c in record["certificates"] for r in c["radii"]}}  # fmt: skip
    seen = set()
    for i, certificate in enumerate(record["certificates"]):
        if certificate["simultaneous"] == "dkw" and (more := elsewhere(record, certificate)) is not None:
            yield f"{name_of(record, i)}: simultaneous: a dkw band is of one measurement, and eps = {more:g} is at another"
        for what, values in grid.items():
            if (shared := certificate["shared_over"].get(what, len(values))) != len(values):
                yield f"{name_of(record, i)}: " + message(f"shared_over.{what}", shared, len(values))
        for row in certificate["radii"]:
            cell = (certificate["certifier"], certificate["sigma"], row["eps"])
            if cell in seen:
                yield f"{name_of(record, i)}: eps = {row['eps']:g} is there twice"
            seen.add(cell)


def elsewhere(record: Record, certificate: Record) -> float | None:
    """A radius of the same certifier and sigma that is certified elsewhere, or None."""
    same = [c for c in record["certificates"] if all(c[k] == certificate[k] for k in ("certifier", "sigma"))]
    return next((c["radii"][0]["eps"] for c in same if c["measurement"] != certificate["measurement"]), None)


def array_errors(record: Record, path: Path, trust: Sequence[str]) -> Iterator[str]:
    """Whether the measurements, and the clean image where it is kept, are those certified."""
    described, file = dict(record["measurements"]["arrays"]), record["measurements"]["file"]
    if Path(file).name != file or not file.endswith(".npz"):
        yield f"measurements.file: {file!r} is no plain file name that ends in .npz"
        return
    try:
        arrays = read_arrays(path.with_name(file))
    except CertificateFileError as error:
        yield f"measurements.file: {error}"
        return
    if "x" in arrays:
        described["x"] = {k: record["image"][k] for k in ("sha256", "shape")}
    for name in sorted(described.keys() ^ arrays.keys()):
        yield f"measurements.arrays.{name}: is {'not in' if name in described else 'only in'} the .npz file"
    wanted = measurement_shape(record)
    for name, array in record["measurements"]["arrays"].items():
        if wanted and array["shape"] != wanted:
            given = f"image.shape = {record['image']['shape']} and the operator, which give {wanted}"
            yield f"measurements.arrays.{name}.shape: {array['shape']} does not belong to {given}"
    for name in described.keys() & arrays.keys():
        where = "image" if name == "x" else f"measurements.arrays.{name}"
        found = {"shape": list(arrays[name].shape), "sha256": array_sha256(arrays[name])}
        yield from (message(f"{where}.{k}", described[name][k], v) for k, v in found.items() if described[name][k] != v)
    for i, certificate in enumerate(record["certificates"]):
        if certificate["measurement"] not in record["measurements"]["arrays"]:
            yield f"{name_of(record, i)}: measurement: {certificate['measurement']!r} is not in measurements.arrays"
        if "x" not in arrays and certifier_of(certificate, path, trust).records_image:
            yield f"{name_of(record, i)}: is about the clean image, but there is no array x in the .npz file"


def measurement_shape(record: Record) -> list[int] | None:
    """Of one image, from its shape and the operator's settings; None for one that is not ours."""
    (channels, height, width), operator = record["image"]["shape"], record["operator"]
    if "_target_" in operator:
        return None
    if operator["name"] == "identity":
        return [channels, height, width]
    block = operator["block"]
    m = max(1, math.floor(operator["ratio"] * block**2 + 0.5))  # measurements_per_block, without torch
    return [channels * m, -(-height // block), -(-width // block)]


def certificate_errors(record: Record, certificate: Record, certifier: Certifier) -> Iterator[str]:
    band = "eps" not in certificate["shared_over"] and certifier.over_eps("dkw", apart=False) == "dkw"
    allowed = ("none", "dkw") if band else ("none",)
    if certificate["simultaneous"] not in allowed:
        yield f"simultaneous: {certificate['simultaneous']!r} is not allowed here; allowed: {', '.join(allowed)}"
    if "eps" in certificate["shared_over"] and certifier.over_eps("bonferroni") == "none":
        said = "hold at all eps, so that the confidence is not shared over them"
        yield f"shared_over.eps: the bounds of {certifier.name} {said}"
    certifier.check(settings_of(certificate))
    yield from certifier.inconsistencies(certificate)
    if len(certificate.get("draws", ())) not in (0, certificate["n_samples"]):
        return  # ranks of a made-up number of draws would be computed for ever
    again = expected(certifier, certificate, math.prod(record["image"]["shape"]), Units(record["units"]))
    yield from (message(*difference) for difference in differences(certificate, again))
