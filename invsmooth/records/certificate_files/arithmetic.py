"""Recompute every bound of a certificate file from the numbers that it follows from. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from invsmooth.certificates.certifier import Certifier, Smoothing
from invsmooth.certificates.confidence import bonferroni
from invsmooth.certificates.fields import NOT_FINITE, real
from invsmooth.certificates.order_statistics import ratio_of, shifted_quantile
from invsmooth.core.units import Units, certified_radius, to_unit_scale
from invsmooth.records.certificate_files.format import Record

ROUNDING = 1e-9  # Relative: what another version of scipy may change


def rounded(field: str, a: float, b: float) -> bool:
    """Whether two numbers of one field differ by rounding alone."""
    return math.isclose(a, b, rel_tol=ROUNDING)


def settings_of(certificate: Record) -> Smoothing:
    """Of each certificate, with the confidence that follows from what it is shared out over."""
    shared = certificate["shared_over"]
    if certificate["n_samples"] == 0:  # nothing is drawn for it
        sigma = math.nan if certificate["sigma"] is None else to_unit_scale(certificate["sigma"])
        return Smoothing(sigma=sigma, n_samples=0, confidence=certificate["confidence"])
    # In two steps, as an evaluation does it.
    confidence = bonferroni(certificate["confidence"], shared.get("sigma", 1) * shared.get("images", 1))
    return Smoothing(
        sigma=to_unit_scale(certificate["sigma"]), n_samples=certificate["n_samples"],
        confidence=bonferroni(confidence, shared["eps"]) if "eps" in shared else confidence,
        q=certificate.get("quantile", 0.5), simultaneous=certificate["simultaneous"], seed=certificate["seed"],
    )  # fmt: skip


def shifts(certifier: Certifier, eps: list[float], each: Smoothing, units: Units) -> list[Record]:
    """eps, eps/sigma (nan where nothing is smoothed), and the shifted quantile if the certifier has
    one, for each radius."""
    unsmoothed = math.isnan(each.sigma)
    ratios = [math.nan if unsmoothed else ratio_of(certified_radius(e, units), each.sigma) for e in eps]
    rows: list[Record] = [{"eps": e, "ratio": real(ratio)} for e, ratio in zip(eps, ratios, strict=True)]
    if (q := certifier.quantile(each.q)) is not None:
        rows = [row | {"q_bar": shifted_quantile(q, ratio, 1)} for row, ratio in zip(rows, ratios, strict=True)]
    return rows


def expected(certifier: Certifier, certificate: Record, n: int, units: Units) -> Record:
    """What has to follow from the recorded numbers of a certificate. ``n``: pixels of the image."""
    each = settings_of(certificate)
    rows = shifts(certifier, [r["eps"] for r in certificate["radii"]], each, units)
    found = certifier.expected(certificate, [float(r["ratio"]) for r in rows], each, n, units)
    radii = [row | own for row, own in zip(rows, found["radii"], strict=True)]
    return found | {
        "radii": radii, "anytime": bool(getattr(certifier, "anytime", False)), "confidence_each": each.confidence,
        "sound": units is Units.matched,
    }  # fmt: skip


def differences(recorded: Any, recomputed: Any, same: Callable[[str, float, float], bool] = rounded,
                where: str = "") -> Iterator[tuple[str, Any, Any]]:  # fmt: skip
    """(field, recorded, recomputed) of each leaf of ``recomputed`` that is not what was recorded.
    same: whether two finite numbers, not both whole, are so for a field; all else is equal."""
    if isinstance(recomputed, Mapping):
        for key, value in recomputed.items():
            yield from differences(recorded[key], value, same, f"{where}.{key}" if where else key)
    elif isinstance(recomputed, list):
        if len(recorded) != len(recomputed):
            yield f"number of {where}", len(recorded), len(recomputed)
        for i, (a, b) in enumerate(zip(recorded, recomputed, strict=False)):
            yield from differences(a, b, same, f"{where}[{i}]")
    elif not equal(recorded, recomputed, partial(same, where)):
        yield where, recorded, recomputed


def equal(a: Any, b: Any, same: Callable[[float, float], bool]) -> bool:
    if not (is_real(a) and is_real(b)):
        return type(a) is type(b) and a == b
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    a, b = float(a), float(b)
    return a == b or (math.isnan(a) and math.isnan(b)) or (math.isfinite(a) and math.isfinite(b) and same(a, b))


def is_real(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int | float) or value in NOT_FINITE)
