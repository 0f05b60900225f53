"""What belongs in a certificate file: the fields of each object and what kind of value each has. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from invsmooth.certificates import CERTIFIERS
from invsmooth.records.certificate_files.format import NOT_FINITE


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def number(value: Any) -> bool:
    return whole(value) or (isinstance(value, float) and math.isfinite(value))


TEXT, FLAG, WHOLE, NUMBER, REAL = "a text", "true or false", "a whole number", "a number", "a number or nan or inf"
ANYTHING = "anything"
OR_NULL = " or null"
KINDS: dict[str, Callable[[Any], bool]] = {
    TEXT: lambda v: isinstance(v, str),
    FLAG: lambda v: isinstance(v, bool),
    WHOLE: whole,
    NUMBER: number,
    REAL: lambda v: number(v) or (isinstance(v, str) and v in NOT_FINITE),
    ANYTHING: lambda v: True,
}

ARRAY = {"sha256": TEXT, "shape": [WHOLE]}
FILE: dict[str, Any] = {
    "format": TEXT, "version": WHOLE, "units": TEXT, "label": TEXT,
    "image": {"key": TEXT, **ARRAY},
    "estimator": {"sha256": TEXT, "checkpoint": TEXT + OR_NULL, "description": ANYTHING},
    "operator": {"sha256": TEXT, "name": TEXT, "ratio": NUMBER, "block": WHOLE, "seed": WHOLE, "matrix": TEXT + OR_NULL},
    "sigma_b": NUMBER,
    "measurements": {"file": TEXT, "arrays": ANYTHING},
    "certificates": [ANYTHING],
    "sha256": TEXT,
}  # fmt: skip
COMMON: dict[str, Any] = {
    "certifier": TEXT, "anytime": FLAG, "measurement": TEXT, "sigma": NUMBER, "n_samples": WHOLE,
    "confidence": NUMBER, "shared_over": ANYTHING, "confidence_each": NUMBER, "simultaneous": TEXT, "seed": WHOLE,
    "sound": FLAG,
}  # fmt: skip
RADIUS: dict[str, Any] = {"eps": NUMBER, "ratio": REAL, "bound": REAL, "reason": TEXT}
RANKED = RADIUS | {"q_bar": NUMBER, "k_index": WHOLE + OR_NULL}
MEAN_BOUNDS = ("bound", "bound_to_shown", "certified_error", "chi_square", "total_variation", "trace")
MEAN_LENGTHS = ("lambda_hat", "trace_hat", "radius", "mean_offset", "centre_error", "mean_error")
"""What the bounds of ``mean`` follow from, one value for each image."""

ORDERED: dict[str, Any] = COMMON | {"median": NUMBER, "draws": [NUMBER], "radii": [RANKED]}
PERCENTILE = ORDERED | {"quantile": NUMBER}
ABOUT_THRESHOLD: dict[str, Any] = {"quantile": NUMBER, "threshold": NUMBER, "radius_of": TEXT}
CERTIFICATES: dict[str, dict[str, Any]] = {
    "discrepancy": PERCENTILE,
    "error": PERCENTILE,
    "radius": PERCENTILE | ABOUT_THRESHOLD | {"certified_eps": REAL},
    "anytime": COMMON
    | ABOUT_THRESHOLD
    | {"radii": [RADIUS | {"q_bar": NUMBER, "n_drawn": WHOLE, "n_below": WHOLE, "decision": FLAG + OR_NULL}]},
    "mean": COMMON
    | {"n_centre": WHOLE, "clipped": WHOLE, "median": NUMBER}
    | dict.fromkeys(MEAN_LENGTHS, REAL)
    | {"radii": [RADIUS | dict.fromkeys(MEAN_BOUNDS, REAL)]},
    "center": ORDERED | {"n_pred": WHOLE, "share_in_ball": NUMBER, "abstained": FLAG},
}


OPERATORS = ("identity", "block_gaussian")
MOST_PIXELS = 2**28
MOST_DRAWS = 100_000
"""Of one certificate, that --rerun makes again unless more are allowed (--max-draws)."""
Range = tuple[Callable[[Any], bool], str]
AT_LEAST_0: Range = (lambda v: v >= 0, "at least 0")
AT_LEAST_1: Range = (lambda v: v >= 1, "at least 1")
BETWEEN: Range = (lambda v: 0 < v < 1, "between 0 and 1")
RANGES: dict[str, Range] = {
    "sigma_b": AT_LEAST_0,
    "image.shape": (
        lambda v: len(v) == 3 and min(v) >= 1 and math.prod(v) <= MOST_PIXELS,
        f"(channels, height, width) with at most {MOST_PIXELS} pixels",
    ),
    "operator.name": (lambda v: v in OPERATORS, f"one of {', '.join(OPERATORS)}"),
    "operator.ratio": (lambda v: 0 < v <= 1, "in (0, 1]"),
    "operator.block": AT_LEAST_1,
    "certificates.sigma": AT_LEAST_0,
    "certificates.n_samples": AT_LEAST_1,
    "certificates.confidence": BETWEEN,
    "certificates.quantile": BETWEEN,
    "certificates.n_centre": (lambda v: v >= 2, "at least 2"),
    "certificates.n_pred": AT_LEAST_1,
    "certificates.share_in_ball": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "radii.eps": AT_LEAST_0,
}
"""What may stand in these fields; what is not here is compared with what has to follow from the others."""


def wrong_fields(value: Any, spec: Any, where: str = "") -> Iterator[str]:
    """What is missing, unknown or of another kind than ``spec`` says, each with its place."""
    if isinstance(spec, dict):
        if not isinstance(value, dict):
            yield f"{where}: {value!r} is no object"
            return
        for name in sorted(spec.keys() ^ value.keys()):
            yield f"{where}{'.' if where else ''}{name}: {'is missing' if name in spec else 'is no field of this object'}"
        for name in spec.keys() & value.keys():
            yield from wrong_fields(value[name], spec[name], f"{where}{'.' if where else ''}{name}")
    elif isinstance(spec, list):
        if not isinstance(value, list) or not value:
            yield f"{where}: {value!r} is no list with at least one entry"
            return
        for i, entry in enumerate(value):
            yield from wrong_fields(entry, spec[0], f"{where}[{i}]")
    elif not (value is None and spec.endswith(OR_NULL)) and not KINDS[spec.removesuffix(OR_NULL)](value):
        yield f"{where}: {value!r} is not {spec}"


def structure_errors(record: dict[str, Any]) -> list[str]:
    """What is wrong with the fields of a whole file; nothing else may be asked of it while there is something."""
    found = list(wrong_fields(record, FILE))
    if found:
        return found
    found += wrong_fields(record["measurements"]["arrays"], dict.fromkeys(record["measurements"]["arrays"], ARRAY)
                          if isinstance(record["measurements"]["arrays"], dict) else {}, "measurements.arrays")  # fmt: skip
    for i, certificate in enumerate(record["certificates"]):
        where = f"certificates[{i}]"
        kind = kind_of(certificate) if isinstance(certificate, dict) else None
        if kind is None:
            found.append(f"{where}.certifier: is none of {', '.join(CERTIFIERS)}")
            continue
        found += wrong_fields(certificate, CERTIFICATES[kind], where)
        shared = certificate.get("shared_over")
        if not isinstance(shared, dict) or not all(
            k in ("eps", "sigma", "images") and whole(v) and v >= 1 for k, v in shared.items()
        ):
            found.append(f"{where}.shared_over: {shared!r} does not give whole numbers of eps, sigma and images")
    return found


def out_of_range(value: dict[str, Any], kind: str = "", where: str = "") -> Iterator[str]:
    """The values that RANGES does not allow, each with its place. ``value``: an object with the right fields."""
    for name, entry in value.items():
        field, place = f"{kind}.{name}".lstrip("."), f"{where}.{name}".lstrip(".")
        if field in RANGES and not RANGES[field][0](entry):
            yield f"{place}: {entry!r} is not {RANGES[field][1]}"
        elif field in ("image", "operator"):
            yield from out_of_range(entry, field, place)
        elif field in ("certificates", "certificates.radii"):
            for i, one in enumerate(entry):
                yield from out_of_range(one, name, f"{place}[{i}]")


def kind_of(certificate: dict[str, Any]) -> str | None:
    """The key of CERTIFICATES for a certificate; None for an unknown certifier."""
    name = certificate.get("certifier")
    if name == "radius" and certificate.get("anytime") is True:
        return "anytime"
    return name if isinstance(name, str) and name in CERTIFIERS else None
