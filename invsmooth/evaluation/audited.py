"""The audit of one measurement setting: searches from real measurements, PSNR, frontier. Nothing is written here."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from invsmooth.checks.lipschitz_search import Map, Pair, Search, evaluated, search, search_from
from invsmooth.core.errors import NoConstant, PremiseError
from invsmooth.data.datamodule import NamedImages
from invsmooth.estimators.premises import checked
from invsmooth.lipschitz.constants import declaring, in_float64, inexactness, lipschitz_constant
from invsmooth.lipschitz.frontier import Frontier, compared, frontier
from invsmooth.metrics import psnr
from invsmooth.operators.base import LinearOperator
from invsmooth.operators.measurement import Measured, Setting, measure
from invsmooth.operators.sized import SizedOperator
from invsmooth.records.pictures import as_picture

log = logging.getLogger(__name__)

CURVE = (*map(float, range(15, 51)), float("inf"))
"""PSNR values of the frontier, dB."""
MOST_PIXELS = 2**18  # of images that are reconstructed at a time


@dataclass(frozen=True)
class Budget:
    """How much is searched; see the keys ``audit`` of the config."""

    threats: Sequence[str]
    n_images: int
    n_restarts: int
    n_iter: int
    n_steps: int
    seed: int


@dataclass(frozen=True)
class Audited:
    """What was found for one threat.

    Attributes:
        declared: the constant that the estimator declares; None for none, and ``reason`` why.
        rho: its inexactness, part of the error of ``search.best``.
        seconds: of the searches."""

    threat: str
    search: Search
    declared: float | None
    reason: str
    rho: float
    seconds: float
    evidence: dict[str, Any]
    pictures: dict[str, np.ndarray]
    """By their headings: f(v), u - v (as Aᵀ(u - v) where it is no image), f(u) - f(v)."""


@dataclass(frozen=True)
class Space:
    """Where a threat moves: ``f`` from there to images, and to measurements."""

    f: Map
    start: Tensor  # shape (1, …)
    to_y: Map
    b: Tensor


def audit_setting(
    estimator: nn.Module, setting: Setting, images: Sequence[NamedImages], budget: Budget
) -> tuple[list[Audited], dict[str, Any], list[dict[str, Any]]]:
    """Audit ``estimator``, in float64, in each threat.

    Args:
        images: the test images. The search starts from the first of them.
    Returns: what was found; the columns psnr, psnr_worst, compared, size and frontier; the lines of frontier.parquet.
    Raises: PremiseError: estimator and operator do not belong together, or f has no gradient."""
    exact: Any = in_float64(setting.operator)
    setting = replace(setting, operator=exact)
    measurements = [measured_in(setting, image.names, image.x) for image in images]
    check(estimator, measurements[0])
    mean = float(torch.cat([quality(estimator, m) for m in measurements]).mean())
    units, pair = compared([image.x for image in images], setting.operator), None
    of = {"compared": len(units), "size": int(units.shape[-1])}
    about, lines = of | {"psnr": mean, "psnr_worst": math.nan, "frontier": math.nan}, []
    if len(units) > 1:
        together = measured_in(setting, ["frontier"] * len(units), units)  # of one name: the same b
        worst = float(quality(estimator, together).min())
        curve = frontier(units, setting.operator, (*CURVE, worst))
        pair = pair_of(together, curve)
        about |= {"psnr_worst": worst, "frontier": curve.constants[-1]}
        lines = [of | {"psnr": p, "constant": c} for p, c in zip(CURVE, curve.constants, strict=False)]
    starts = measurements[: budget.n_images]
    return [audit_threat(estimator, starts, threat, budget, pair) for threat in budget.threats], about, lines


def check(estimator: nn.Module, first: Measured) -> None:
    try:
        checked(estimator, first.setting.operator, first.y, first.x)
    except RuntimeError as error:
        what = f"the estimator fails on a measurement of shape {tuple(first.y.shape)} in float64"
        raise PremiseError(f"{what}: {error}") from error


def measured_in(setting: Setting, names: Sequence[str], x: Tensor) -> Measured:
    """Measured in float64, by an operator that knows the size of the images."""
    operator = setting.operator
    if isinstance(operator, SizedOperator):
        operator = operator.for_image_size(*x.shape[-2:])
    return measure(replace(setting, operator=operator), names, x.double())


@torch.no_grad()
def quality(estimator: nn.Module, measured: Measured) -> Tensor:
    """PSNR of each image, shape (B,)."""
    chunk = max(1, MOST_PIXELS // measured.x[0].numel())
    parts = zip(measured.y.split(chunk), measured.x.split(chunk), strict=True)
    return torch.cat([psnr(estimator(y, measured.setting.operator), x) for y, x in parts])


def pair_of(together: Measured, curve: Frontier) -> tuple[Measured, Measured] | None:
    """The two images that give the last value of the frontier, at the network's own PSNR: f moves them apart at least
    by that factor, so that no search ends below the frontier."""
    if not curve.constants[-1] > 0:
        return None
    one, other = (Measured(together.setting, [], *(v[i : i + 1] for v in (together.x, together.b, together.y)))
                  for i in curve.pairs[-1])  # fmt: skip
    return one, other


def space_of(estimator: nn.Module, measured: Measured, threat: str) -> Space:
    operator, b = measured.setting.operator, measured.b
    if threat == "measurement":
        return Space(lambda y: estimator(y, operator), measured.y, lambda y: y, b)
    return Space(lambda z: estimator(operator.A(z) + b, operator), measured.x, lambda z: operator.A(z) + b, b)


def searches(
    estimator: nn.Module, starts: Sequence[Measured], threat: str, budget: Budget,
    pair: tuple[Measured, Measured] | None, approximate: bool,
) -> Iterator[tuple[Search, Measured]]:  # fmt: skip
    """Each search, with the measurement that it started from."""
    if pair is not None:
        own, other = (space_of(estimator, m, threat) for m in pair)
        yield search_from(own.f, own.start, other.start, n_steps=budget.n_steps), pair[1]
    for measured in starts:
        space, operator, key = space_of(estimator, measured, threat), measured.setting.operator, measured.names[0]
        rho = inexactness(estimator, operator, measured.y, float(measured.y.norm())) if approximate else 0.0
        for number in range(budget.n_restarts):
            yield search(
                space.f, space.start, n_iter=budget.n_iter, n_steps=budget.n_steps, number=number, seed=budget.seed,
                key=key, rho=rho,
            ), measured  # fmt: skip


def audit_threat(
    estimator: nn.Module, starts: Sequence[Measured], threat: str, budget: Budget,
    pair: tuple[Measured, Measured] | None,
) -> Audited:  # fmt: skip
    operator, began = starts[0].setting.operator, time.perf_counter()
    try:
        declared, reason = lipschitz_constant(estimator, operator, threat), ""
    except NoConstant as error:
        declared, reason = None, str(error)
    approximate = declares(estimator)
    found: list[tuple[Search, Measured]] = []
    for one in searches(estimator, starts, threat, budget, pair, approximate):
        found.append(one)
        largest = max(s.best.lower_bound for s, _ in found)
        n = (pair is not None) + len(starts) * budget.n_restarts
        log.info("%s, %s: start %d of %d, constant at least %.5g", starts[0].setting, threat, len(found), n, largest)
    best, measured = max(found, key=lambda one: one[0].best.lower_bound)
    space = space_of(estimator, measured, threat)
    rho, exact = with_rho(estimator, measured, space, best.best, approximate)
    total = replace(reduce(or_, (s for s, _ in found)), best=exact)
    shown = pictures(exact, space, measured.setting.operator)
    seconds = time.perf_counter() - began
    return Audited(threat, total, declared, reason, rho, seconds, evidence(exact, space, threat), shown)


def declares(estimator: nn.Module) -> bool:
    try:
        return declaring(estimator) is not None
    except NoConstant:
        return False


def with_rho(
    estimator: nn.Module, measured: Measured, space: Space, pair: Pair, approximate: bool
) -> tuple[float, Pair]:
    """The pair with the inexactness that the estimator declares for just these two measurements."""
    if not approximate:
        return 0.0, pair
    u, v = space.to_y(pair.u), space.to_y(pair.v)
    rho = inexactness(estimator, measured.setting.operator, v, float((u - v).norm()))
    return rho, evaluated(space.f, pair.u, pair.v, rho)


def evidence(pair: Pair, space: Space, threat: str) -> dict[str, Any]:
    """Tensors and numbers that ``torch.load(…, weights_only=True)`` reads. ``u``, ``v``: measurements, or with threat
    "signal" images, whose measurements are A u + b."""
    with torch.no_grad():
        f_u, f_v = space.f(pair.u), space.f(pair.v)
    tensors = {"u": pair.u, "v": pair.v, "b": space.b, "f_u": f_u, "f_v": f_v}
    return {k: v.cpu() for k, v in tensors.items()} | {
        "threat": threat, "moved": pair.moved, "distance": pair.distance, "error": pair.error
    }  # fmt: skip


@torch.no_grad()
def pictures(pair: Pair, space: Space, operator: LinearOperator) -> dict[str, np.ndarray]:
    f_u, f_v, d = space.f(pair.u), space.f(pair.v), pair.u - pair.v
    shown = {"u − v": d} if d.shape == f_u.shape else {"Aᵀ(u − v)": operator.A_adjoint(d)}
    arrays = {"f(v)": f_v, **shown, "f(u) − f(v)": f_u - f_v}
    return {k: as_picture(v[0]).cpu().numpy() for k, v in arrays.items()}
