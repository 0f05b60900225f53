"""Everything that a certificate file alone tells about itself: checksum, consistency, arithmetic. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from invsmooth.core.units import PAPER_LABEL, Units
from invsmooth.records.certificate_files.arithmetic import differences, expected
from invsmooth.records.certificate_files.fields import kind_of, out_of_range, structure_errors
from invsmooth.records.certificate_files.format import CertificateFileError, Record, array_sha256, checksum, read_arrays

SLACK = 1e-6
"""Relative rounding of the lengths of ``mean`` against each other."""


def findings(record: Record, path: Path) -> list[str]:
    """All that is wrong with a file that was read from ``path``, one message each; empty if nothing is."""
    if wrong := structure_errors(record) or list(out_of_range(record)):
        return wrong
    found = []
    if record["sha256"] != (recomputed := checksum(record)):
        found.append(f"sha256: recorded {record['sha256']}, recomputed {recomputed}: the file was changed")
    found += file_errors(record)
    found += array_errors(record, path)
    for i, certificate in enumerate(record["certificates"]):
        where = name_of(record, i)
        try:
            found += [f"{where}: {error}" for error in certificate_errors(record, certificate)]
        except (ValueError, ArithmeticError, IndexError) as error:
            found.append(f"{where}: cannot be recomputed: {error}")
    return found


def name_of(record: Record, i: int) -> str:
    certificate = record["certificates"][i]
    return f"certificates[{i}] ({certificate['certifier']}, sigma = {certificate['sigma']:g})"


def message(field: str, recorded: object, recomputed: object) -> str:
    return f"{field}: recorded {recorded!r}, recomputed {recomputed!r}"


def file_errors(record: Record) -> Iterator[str]:
    """Units, label, and whether the confidence was shared over as many sigma and eps as there are."""
    if record["units"] not in list(Units):
        yield f"units: {record['units']!r} is none of {', '.join(Units)}"
    label = PAPER_LABEL if record["units"] == Units.paper else ""
    if record["label"] != label:
        yield message("label", record["label"], label)
    estimator = record["estimator"]
    if estimator["checkpoint"] is not None and estimator["description"] is not None:
        yield "estimator: has a checkpoint as well as a description"
    grid = {"sigma": {c["sigma"] for c in record["certificates"]},
            "eps": {r["eps"] for c in record["certificates"] for r in c["radii"]}}  # fmt: skip
    seen = set()
    for i, certificate in enumerate(record["certificates"]):
        if certificate["simultaneous"] == "dkw" and (more := elsewhere(record, certificate)) is not None:
            yield f"{name_of(record, i)}: simultaneous: a dkw band is of one measurement, and eps = {more:g} is at another"
        for what, values in grid.items():
            shared = certificate["shared_over"].get(what, len(values))
            if shared != len(values):
                yield f"{name_of(record, i)}: " + message(f"shared_over.{what}", shared, len(values))
        for row in certificate["radii"]:
            cell = (certificate["certifier"], certificate["sigma"], row["eps"])
            if cell in seen:
                yield f"{name_of(record, i)}: eps = {row['eps']:g} is there twice"
            seen.add(cell)


def elsewhere(record: Record, certificate: Record) -> float | None:
    """A radius of the same certifier and sigma that is certified at another measurement; None where there is none."""
    same = [c for c in record["certificates"] if all(c[k] == certificate[k] for k in ("certifier", "sigma"))]
    return next((c["radii"][0]["eps"] for c in same if c["measurement"] != certificate["measurement"]), None)


def array_errors(record: Record, path: Path) -> Iterator[str]:
    """Whether the measurements, and the clean image where it is kept, are those that were certified."""
    described = dict(record["measurements"]["arrays"])
    file = record["measurements"]["file"]
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
        if array["shape"] != wanted:
            yield (
                f"measurements.arrays.{name}.shape: {array['shape']} does not belong to image.shape = "
                f"{record['image']['shape']} and the operator, which give {wanted}"
            )
    for name in described.keys() & arrays.keys():
        where = "image" if name == "x" else f"measurements.arrays.{name}"
        shape, sha256 = list(arrays[name].shape), array_sha256(arrays[name])
        if described[name]["shape"] != shape:
            yield message(f"{where}.shape", described[name]["shape"], shape)
        if described[name]["sha256"] != sha256:
            yield message(f"{where}.sha256", described[name]["sha256"], sha256)
    for i, certificate in enumerate(record["certificates"]):
        if certificate["measurement"] not in record["measurements"]["arrays"]:
            yield f"{name_of(record, i)}: measurement: {certificate['measurement']!r} is not in measurements.arrays"
        if needs_image(certificate) and "x" not in arrays:
            yield f"{name_of(record, i)}: is about the clean image, but there is no array x in the .npz file"


def measurement_shape(record: Record) -> list[int]:
    """Shape of the measurements of one image, from the image's and from the operator's settings."""
    (channels, height, width), operator = record["image"]["shape"], record["operator"]
    if operator["name"] == "identity":
        return [channels, height, width]
    block = operator["block"]
    m = max(1, math.floor(operator["ratio"] * block**2 + 0.5))  # measurements_per_block, without torch
    return [m, -(-height // block), -(-width // block)]


def needs_image(certificate: Record) -> bool:
    return certificate["certifier"] in ("error", "mean") or certificate.get("radius_of") == "error"


def certificate_errors(record: Record, certificate: Record) -> Iterator[str]:
    kind, simultaneous = kind_of(certificate), certificate["simultaneous"]
    if certificate["anytime"] != (kind == "anytime"):
        yield message("anytime", certificate["anytime"], kind == "anytime")
    allowed = ("none",) if kind in ("mean", "anytime") or "eps" in certificate["shared_over"] else ("none", "dkw")
    if simultaneous not in allowed:
        yield f"simultaneous: {simultaneous!r} is not allowed here; allowed: {', '.join(allowed)}"
    if kind == "mean" and "eps" in certificate["shared_over"]:
        yield "shared_over.eps: the bounds of mean hold at all eps, so that the confidence is not shared over them"
    if certificate.get("radius_of", "error") not in ("error", "discrepancy"):
        yield f"radius_of: {certificate['radius_of']!r} is neither error nor discrepancy"
    if "draws" in certificate:
        yield from draws_errors(certificate)
        if len(certificate["draws"]) != certificate["n_samples"]:
            return
    yield from {"mean": mean_errors, "center": center_errors, "anytime": anytime_errors}.get(kind or "", no_errors)(
        certificate
    )
    n = math.prod(record["image"]["shape"])
    for field, recorded, recomputed in differences(certificate, expected(certificate, n, Units(record["units"]))):
        yield message(field, recorded, recomputed)


def no_errors(certificate: Record) -> Iterator[str]:
    yield from ()


def draws_errors(certificate: Record) -> Iterator[str]:
    draws = certificate["draws"]
    if len(draws) != certificate["n_samples"]:
        yield message("number of draws, n_samples", certificate["n_samples"], len(draws))
    if not all(math.isfinite(d) and d >= 0 for d in draws):
        yield "draws: not all are finite and at least 0"
    for k, (a, b) in enumerate(pairwise(draws)):
        if not a <= b:
            yield f"draws: not in ascending order at rank {k + 1}: {a!r}, {b!r}"
            return


def mean_errors(certificate: Record) -> Iterator[str]:
    """Relations between the lengths of ``mean`` that hold whatever the network."""
    numbers = {k: float(certificate[k]) for k in ("radius", "lambda_hat", "trace_hat", "mean_offset", "median")}
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0):
            yield f"{name}: {value} is not finite and at least 0"
    longest = 1 + SLACK
    for lesser, greater in (("lambda_hat", "trace_hat"), ("trace_hat", "radius"), ("mean_offset", "trace_hat")):
        a, b = (numbers[k] ** (2 if k in ("radius", "mean_offset") else 1) for k in (lesser, greater))
        if a > b * longest:
            yield f"{lesser} and {greater}: {lesser} = {numbers[lesser]!r} is too large for {greater} = {numbers[greater]!r}"
    centre, mean = float(certificate["centre_error"]), float(certificate["mean_error"])
    if abs(centre - mean) > longest * numbers["mean_offset"] + SLACK * centre or centre < 0 or mean < 0:
        yield f"centre_error and mean_error: {centre!r} and {mean!r} are further apart than mean_offset"
    if not 0 <= certificate["clipped"] <= certificate["n_samples"]:
        yield f"clipped: {certificate['clipped']} is not between 0 and n_samples"


def center_errors(certificate: Record) -> Iterator[str]:
    share, n_pred = certificate["share_in_ball"], certificate["n_pred"]
    if certificate["sigma"] > 0 and abs(share * n_pred - round(share * n_pred)) > SLACK * n_pred:
        yield f"share_in_ball: {share!r} is no share of n_pred = {n_pred} draws"


def anytime_errors(certificate: Record) -> Iterator[str]:
    for j, row in enumerate(certificate["radii"]):
        if not 0 <= row["n_below"] <= row["n_drawn"]:
            yield f"radii[{j}].n_below: {row['n_below']} is not between 0 and n_drawn = {row['n_drawn']}"
