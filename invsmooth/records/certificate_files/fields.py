"""What belongs in a certificate file: the fields of each object and their kinds. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from invsmooth.certificates import fields as kinds
from invsmooth.certificates.fields import ANYTHING, FLAG, NUMBER, OR_NULL, REAL, TEXT, WHOLE, Range
from invsmooth.core.parameters import LARGEST_RATIO

ARRAY = {"sha256": TEXT, "shape": [WHOLE]}
OURS: dict[str, Any] = {"name": TEXT, "block": WHOLE, "seed": WHOLE, "matrix": TEXT + OR_NULL}
FROM_OUTSIDE: dict[str, Any] = {"_target_": TEXT, "parameters": ANYTHING}
"""Of an operator or a certifier that is not ours: dotted class, and parameters by name."""
FILE: dict[str, Any] = {
    "format": TEXT, "version": WHOLE, "units": TEXT, "label": TEXT,
    "image": {"key": TEXT, **ARRAY},
    "estimator": ANYTHING,
    "operator": ANYTHING, "sigma_b": NUMBER, "measurements": {"file": TEXT, "arrays": ANYTHING},
    "certificates": [ANYTHING], "sha256": TEXT,
}  # fmt: skip
ESTIMATOR: dict[str, Any] = {"sha256": TEXT, "checkpoint": TEXT + OR_NULL, "description": ANYTHING}
PRECISION = {"precision": TEXT}
"""Of an estimator that runs in bfloat16 (the value is bf16); in float32 the field is left out."""
SETTINGS: dict[str, Any] = {
    "measurement": TEXT, "sigma": NUMBER + OR_NULL, "n_samples": WHOLE, "confidence": NUMBER, "shared_over": ANYTHING,
    "confidence_each": NUMBER, "simultaneous": TEXT, "seed": WHOLE,
}  # fmt: skip
"""Of a certificate. sigma in grey levels, null where nothing is smoothed; shared_over: how many eps,
sigma and images the confidence is shared out over."""
COMMON = SETTINGS | {"certifier": TEXT, "anytime": FLAG, "sound": FLAG}
RADIUS: dict[str, Any] = {"eps": NUMBER, "ratio": REAL, "bound": REAL, "reason": TEXT}

OPERATORS = ("identity", "block_gaussian")
MOST_PIXELS = 2**28
MOST_DRAWS = 100_000  # Of one certificate, that --rerun makes again unless more are allowed (--max-draws)
RANGES: dict[str, Range] = {
    "sigma_b": kinds.AT_LEAST_0,
    "image.shape": (lambda v: len(v) == 3 and min(v) >= 1 and math.prod(v) <= MOST_PIXELS,
                    f"(channels, height, width) with at most {MOST_PIXELS} pixels"),
    "operator.name": (lambda v: v in OPERATORS, f"one of {', '.join(OPERATORS)}"),
    "estimator.precision": (lambda v: v == "bf16", "bf16"),
    "operator.ratio": (lambda v: 0 < v <= LARGEST_RATIO, f"in (0, {LARGEST_RATIO:g}]"), "operator.block": kinds.AT_LEAST_1,
    "certificates.quantile": kinds.BETWEEN, "radii.eps": kinds.AT_LEAST_0,
}  # fmt: skip
"""What may stand in these fields; the others are compared with what has to follow."""
NO_DRAWS: dict[str, Range] = {
    "n_samples": kinds.just(0), "seed": kinds.just(0), "shared_over": kinds.just({}), "simultaneous": kinds.just("none"),
}  # fmt: skip
SMOOTHED: dict[str, Range] = {
    "sigma": (lambda v: v is not None and v >= 0, "at least 0"), "n_samples": kinds.AT_LEAST_1,
    "confidence": kinds.BETWEEN,
}  # fmt: skip
UNSMOOTHED = NO_DRAWS | {"sigma": kinds.just(None), "confidence": kinds.just(1)}
COMBINED = NO_DRAWS | {"sigma": (lambda v: v is None or v >= 0, "null or at least 0"), "confidence": kinds.SHARE}
"""The settings of a certificate that smooths, of one that does not, and of one that combines others."""


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
    elif not (value is None and spec.endswith(OR_NULL)) and not kinds.KINDS[spec.removesuffix(OR_NULL)](value):
        yield f"{where}: {value!r} is not {spec}"


def file_errors(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the fields of a file, but for those of its certificates."""
    found = list(wrong_fields(record, FILE))
    yield from found
    if found:
        return
    arrays, operator, estimator = record["measurements"]["arrays"], record["operator"], record["estimator"]
    coarse = isinstance(estimator, dict) and "precision" in estimator
    yield from wrong_fields(estimator, ESTIMATOR | (PRECISION if coarse else {}), "estimator")
    described = dict.fromkeys(arrays, ARRAY) if isinstance(arrays, dict) else {}
    yield from wrong_fields(arrays, described, "measurements.arrays")
    outside = isinstance(operator, dict) and "_target_" in operator
    spec = {"sha256": TEXT, "ratio": NUMBER} | (FROM_OUTSIDE if outside else OURS)
    yield from wrong_fields(operator, spec, "operator")


def certificate_errors(certificate: dict[str, Any], own: dict[str, Any], where: str) -> Iterator[str]:
    """What is wrong with a certificate's fields. ``own``: those that its certifier declares."""
    yield from wrong_fields(certificate, COMMON | own | {"radii": [RADIUS | row for row in own["radii"]]}, where)
    shared, known = certificate.get("shared_over"), ("eps", "sigma", "images")
    if not isinstance(shared, dict) or not all(k in known and kinds.whole(v) and v >= 1 for k, v in shared.items()):
        yield f"{where}.shared_over: {shared!r} does not give whole numbers of eps, sigma and images"


def out_of_range(value: Mapping[str, Any], ranges: Mapping[str, Range] = RANGES, kind: str = "",
                 where: str = "") -> Iterator[str]:  # fmt: skip
    """The values that ``ranges`` does not allow, each with its place, in the right fields."""
    for name, entry in value.items():
        field, place = f"{kind}.{name}".lstrip("."), f"{where}.{name}".lstrip(".")
        if field in ranges and not ranges[field][0](entry):
            yield f"{place}: {entry!r} is not {ranges[field][1]}"
        elif field in ("image", "operator", "estimator"):
            yield from out_of_range(entry, ranges, field, place)
        elif field in ("certificates", "certificates.radii"):
            for i, one in enumerate(entry):
                yield from out_of_range(one, ranges, name, f"{place}[{i}]")
