"""Recompute every bound of a certificate file from the numbers that it follows from. No torch, no network.

Each function takes the recorded inputs (draws, lambda_hat, S, c, eps, sigma, …) and returns what has to follow from them,
in the shape of the record; :func:`differences` compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from invsmooth.certificates.center_smoothing import BALL_FACTOR, DELTA, center_index, why_abstained, why_no_center
from invsmooth.certificates.confidence import bonferroni, decide, looks
from invsmooth.certificates.impossible import WITHOUT_NOISE, why_above, why_not_decided_below
from invsmooth.certificates.order_statistics import (
    certified_ratio,
    min_samples,
    order_statistic_index,
    ratio_of,
    shifted_quantile,
    why_none,
)
from invsmooth.certificates.variance_constrained import movement
from invsmooth.core.units import Units, certified_radius, labelled_radius, to_unit_scale
from invsmooth.records.certificate_files.fields import kind_of
from invsmooth.records.certificate_files.format import NOT_FINITE, Record, real

ROUNDING = 1e-9
"""Relative: what another version of scipy may change."""


def rounded(field: str, a: float, b: float) -> bool:
    """Whether two numbers of one field differ by rounding alone."""
    return math.isclose(a, b, rel_tol=ROUNDING)


def ratio_at(eps: float, sigma: float, units: Units) -> float:
    """eps/sigma of a certificate; sigma in grey levels."""
    return ratio_of(certified_radius(eps, units), to_unit_scale(sigma))


def quantile_of(certificate: Mapping[str, Any]) -> float:
    """The quantile that is shifted: q, or that of center smoothing."""
    return 0.5 + DELTA if certificate["certifier"] == "center" else certificate["quantile"]


def expected(certificate: Record, n: int, units: Units) -> Record:
    """What has to follow from the recorded numbers of a certificate. ``n``: pixels of the image."""
    match kind := kind_of(certificate):
        case "mean":
            found = mean(certificate, n, units)
        case "center":
            found = center(certificate, units)
        case "anytime":
            found = anytime(certificate, units)
        case "radius":
            found = radius(certificate, units)
        case _:
            found = percentile(certificate, units)
    for given, recomputed in zip(certificate["radii"], found["radii"], strict=True):
        recomputed["ratio"] = real(ratio_at(given["eps"], certificate["sigma"], units))
        if kind != "mean":
            sigma = to_unit_scale(certificate["sigma"])
            q_bar = shifted_quantile(quantile_of(certificate), certified_radius(given["eps"], units), sigma)
            recomputed["q_bar"] = q_bar
    return found | {"confidence_each": each(certificate), "sound": units is Units.matched}


def each(certificate: Record) -> float:
    """The confidence of one radius, of the confidence asked for and what it is shared over."""
    shared = certificate["shared_over"]
    # As CertifyPlan does it.
    confidence = bonferroni(certificate["confidence"], shared.get("sigma", 1) * shared.get("images", 1))
    return bonferroni(confidence, shared["eps"]) if "eps" in shared else confidence


def ratios(certificate: Record, units: Units) -> list[float]:
    return [ratio_at(r["eps"], certificate["sigma"], units) for r in certificate["radii"]]


def percentile(certificate: Record, units: Units) -> Record:
    """Draws, S, c, q, eps, sigma -> K, bound, median, reason."""
    c, s, draws = each(certificate), certificate["n_samples"], certificate["draws"]
    q, dkw, sigma = certificate["quantile"], certificate["simultaneous"] == "dkw", to_unit_scale(certificate["sigma"])
    rows: list[Record] = []
    for given, ratio in zip(certificate["radii"], ratios(certificate, units), strict=True):
        q_bar = shifted_quantile(q, certified_radius(given["eps"], units), sigma)
        k = order_statistic_index(s, q_bar, c, dkw=dkw)
        bound = real(draws[k - 1] if k else math.nan)
        rows.append({"k_index": k, "bound": bound, "reason": why_none(ratio, s, c, q, dkw=dkw)})
    return {"median": draws[math.ceil(s / 2) - 1], "radii": rows}


def radius(certificate: Record, units: Units) -> Record:
    """… and threshold -> certified_eps, in the unit of eps; the bound is the threshold where the draw of rank K is
    at most that."""
    found, threshold = percentile(certificate, units), single(certificate["threshold"])
    for row in found["radii"]:
        certified = float(row["bound"])
        if not certified <= threshold:
            row["reason"] = row["reason"] or why_above(certified, certificate["threshold"])
        row["bound"] = real(threshold if certified <= threshold else math.nan)
    ratio = certified_ratio(
        sum(d <= threshold for d in certificate["draws"]), certificate["n_samples"], each(certificate),
        certificate["quantile"], dkw=certificate["simultaneous"] == "dkw",
    )  # fmt: skip
    certified_eps = math.nan if ratio < 0 else ratio * to_unit_scale(certificate["sigma"])
    return found | {"certified_eps": real(labelled_radius(certified_eps, units))}


def single(threshold: float) -> float:
    """The threshold as the draws, which are single precision, were compared with it."""
    with np.errstate(over="ignore"):
        return float(np.float32(threshold))


def anytime(certificate: Record, units: Units) -> Record:
    """Draws looked at and those below the threshold -> the decision."""
    c, most, q = each(certificate), certificate["n_samples"], certificate["quantile"]
    rows: list[Record] = []
    for given, ratio in zip(certificate["radii"], ratios(certificate, units), strict=True):
        first = min_samples(ratio, (1 + c) / 2, q)
        if first > most:
            reason = why_none(ratio, most, (1 + c) / 2, q)
            rows.append({"decision": None, "n_drawn": 0, "n_below": 0, "bound": "nan", "reason": reason})
            continue
        alphas = dict(looks(int(first), most, c))
        drawn = given["n_drawn"] if given["n_drawn"] in alphas else most  # it stops only where it looks
        decision = decide(given["n_below"], drawn, shifted_quantile(q, ratio, 1), alphas[drawn])
        if decision is None:
            drawn = most  # it goes on to the last
        reason = why_not_decided_below(decision, drawn, certificate["threshold"])
        bound = real(single(certificate["threshold"]) if decision else math.nan)
        rows.append({"decision": decision, "n_drawn": drawn, "bound": bound, "reason": reason})
    return {"radii": rows}


def mean(certificate: Record, n: int, units: Units) -> Record:
    """lambda_hat, trace_hat, R, mean_offset, centre_error, mean_error -> all bounds, as MSE over n pixels."""
    numbers = {k: float(certificate[k]) for k in ("lambda_hat", "trace_hat", "radius", "mean_offset")}
    errors = float(certificate["centre_error"]), float(certificate["mean_error"])
    n_drawn = certificate["n_samples"] if certificate["sigma"] > 0 else 1  # without noise all draws are the same one
    rows = []
    for ratio in ratios(certificate, units):
        moved = movement(**numbers, ratio=ratio, confidence=each(certificate), n_samples=n_drawn)
        lengths = {"bound": moved.shift, "bound_to_shown": moved.offset, "certified_error": moved.error(*errors)}
        lengths |= {k: getattr(moved, k) for k in ("chi_square", "total_variation", "trace")}
        row: Record = {k: real(math.nan if math.isinf(ratio) else v**2 / n) for k, v in lengths.items()}
        rows.append(row | {"reason": WITHOUT_NOISE if math.isinf(ratio) else ""})
    return {"radii": rows}


def center(certificate: Record, units: Units) -> Record:
    """Shard in the ball -> abstained or not; distances, S, c, eps, sigma -> K, bound = 9 times the draw of rank K."""
    c, s, draws, n_pred = each(certificate), certificate["n_samples"], certificate["draws"], certificate["n_pred"]
    dkw = certificate["simultaneous"] == "dkw"
    share = round(certificate["share_in_ball"] * n_pred) / n_pred  # recorded in single precision
    alone = why_abstained(share, n_pred, c)
    rows = []
    for ratio in ratios(certificate, units):
        k = None if alone else center_index(s, ratio, c, dkw=dkw)
        reason = why_no_center(ratio, s, c, n_pred, dkw=dkw) or alone
        rows.append({"k_index": k, "bound": real(BALL_FACTOR * draws[k - 1] if k else math.nan), "reason": reason})
    return {"abstained": bool(alone), "median": draws[math.ceil(s / 2) - 1], "radii": rows}


def differences(
    recorded: Any, recomputed: Any, same: Callable[[str, float, float], bool] = rounded, where: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(field, recorded, recomputed) of each leaf of ``recomputed`` that is not what was recorded.

    same: whether two finite numbers, not both whole, are the same for a field; all else has to be equal.
    """
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
