"""The certifier ``radius``: up to which eps a certified MSE stays at most a threshold. With
``anytime`` it only decides, for each eps, whether that is so, and stops drawing as soon as it
knows. The guarantee survives the stopping (:func:`invsmooth.certificates.confidence.looks`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from invsmooth.certificates.certificate import Certificate, object_rows
from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.confidence import decide, looks
from invsmooth.certificates.fields import FLAG, NUMBER, OR_NULL, REAL, TEXT, WHOLE, real
from invsmooth.certificates.order_statistics import certified_ratio, min_samples, ratio_of, shifted_quantile, why_none
from invsmooth.certificates.percentile import Percentile
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units, labelled_radius

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.draws import Draws

ABOUT: dict[str, Any] = {"quantile": NUMBER, "threshold": NUMBER, "radius_of": TEXT}
DECIDED = {"n_drawn": WHOLE, "n_below": WHOLE, "decision": FLAG + OR_NULL, "q_bar": NUMBER}


@dataclass(frozen=True, repr=False)
class RadiusCertificate(Certificate):
    """``bound`` is the threshold wherever it is certified. ``certified_eps``, shape (B,): the
    largest eps at which the certified value is at most that; nan if it is not even at eps = 0."""

    certified_eps: Tensor


@dataclass(frozen=True, repr=False)
class DecidedCertificate(Certificate):
    """``radius`` with ``anytime``: ``bound`` is the threshold where it is certified. The other
    fields, object arrays with the radius axis: ``n_below`` of ``n_drawn`` draws are at most the
    threshold; ``below`` is the decision: True (certified), False (no number of draws would certify
    it), None (undecided)."""

    RADIUS_AXIS = (*Certificate.RADIUS_AXIS, "n_drawn", "n_below", "below")

    n_drawn: np.ndarray
    n_below: np.ndarray
    below: np.ndarray

    def n_drawn_for(self, i: int, n_samples: int) -> int:
        return int(self.n_drawn[i])


class Radius(Percentile):
    """The largest eps at which the certified value of ``radius_of`` is at most ``threshold``.

    Args:
        threshold: MSE.
        radius_of: the certifier whose value it is: ``"error"`` or ``"discrepancy"``.
        anytime: only decide whether each radius is certified, with as few draws as it takes."""

    name = "radius"
    declared = CertifierDeclaration(
        name="radius", statement="the threshold, up to the certified ε", order=30, colour="#E69F00", marker="v", ranked=True,
        column="certified_eps", axis="radius: certified ε", short="ε ≤ {:.2g}", per_eps=False, curves={},
        columns=(
            Column("certified_eps", "l2, [0, 1] pixels", "Largest eps at which the threshold is certified.",
                   certified=True, heading="certified ε"),
        ),
    )  # fmt: skip
    follows = ("certified_eps",)

    def __init__(
        self, threshold: Annotated[float, Field(gt=0, description="a number > 0 (MSE)")],
        radius_of: Literal["error", "discrepancy"] = "error", anytime: bool = False,
    ) -> None:  # fmt: skip
        self.threshold, self.radius_of, self.anytime = threshold, radius_of, anytime

    @property
    def reference(self) -> str:
        return "x" if self.radius_of == "error" else "shown"

    @property
    def covered_by(self) -> str:
        return "error" if self.radius_of == "error" else ""

    def check(self, smoothing: Smoothing) -> None:
        if self.threshold is None:
            raise ValueError("certifier='radius' needs the MSE that it is about: give threshold")
        if self.radius_of not in ("discrepancy", "error"):
            raise ValueError(f"radius_of={self.radius_of!r} is neither error nor discrepancy")

    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        return super().why_impossible(ratio, first_look(smoothing) if self.anytime else smoothing)

    def over_eps(self, how: str, *, apart: bool | None = None) -> str:
        # Each decision of anytime has draws of its own number: no DKW band joins them.
        return super().over_eps(how, apart=apart or self.anytime)

    def stops(self, each: Smoothing) -> tuple[int, ...]:
        return () if self.anytime else super().stops(each)

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> Certificate:  # fmt: skip
        import torch

        if self.anytime:
            return self.decided(replace(draws, shared=None), shown, eps, each)
        of = super().certify(draws, shown, x, eps, each)
        holds = of.bound <= self.threshold
        reason = of.reason.copy()
        for i, j in (~holds & ~of.bound.isnan()).nonzero().tolist():
            reason[i, j] = why_above(float(of.bound[i, j]), self.threshold)
        errors = draws.errors(each.n_drawn)[self.reference].expand(-1, each.n_samples)
        certified_eps = [largest_eps(n, each) for n in (errors <= self.threshold).sum(1).tolist()]
        bound = torch.where(holds, torch.full_like(of.bound, self.threshold), math.nan)
        largest = torch.tensor(certified_eps, dtype=torch.float64, device=errors.device)
        return RadiusCertificate(**vars(of) | {"bound": bound, "reason": reason, "certified_eps": largest})

    def decided(self, draws: Draws, shown: Tensor, eps: Sequence[float], each: Smoothing) -> DecidedCertificate:
        """The decision at every radius, each from as many draws as it takes."""
        import torch

        decisions = [decide_threshold(draws, draws.references[self.reference], self.threshold, e, each) for e in eps]
        below = np.stack([d.below for d in decisions], 1)
        n_drawn = np.stack([d.n_samples for d in decisions], 1).astype(object)
        reason = object_rows([d.reason for d in decisions], len(draws))
        for i, j in np.ndindex(*below.shape):
            reason[i, j] = reason[i, j] or why_not_decided_below(below.item(i, j), n_drawn.item(i, j), self.threshold)
        pictures = shown[:, None].expand(-1, len(eps), -1, -1, -1)
        certified = torch.tensor(np.equal(below, True), device=shown.device)
        return DecidedCertificate(
            bound=torch.where(certified, self.threshold, torch.nan).double(),
            k_index=object_rows([None] * len(eps), len(draws)),
            median=torch.full_like(certified, torch.nan, dtype=torch.float64), reconstruction_median=pictures,
            reconstruction_certified=pictures * torch.nan, reason=reason, sound=True,
            network_evals=1 + int(n_drawn.sum(1).max()), shown=shown, draws=shown.new_empty(len(draws), 0), n_drawn=n_drawn,
            n_below=np.stack([d.n_below for d in decisions], 1).astype(object), below=below,
        )  # fmt: skip

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        eps = float(certificate.certified_eps[i]) if isinstance(certificate, RadiusCertificate) else math.nan
        return {"certified_eps": labelled_radius(eps, units)}

    # Its certificate file.

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        if record.get("anytime") is True:
            return ABOUT | {"radii": [DECIDED]}
        return super().fields(record) | ABOUT | {"certified_eps": REAL}

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        if isinstance(certificate, DecidedCertificate):
            below = [None if b is None else bool(b) for b in certificate.below[i]]
            rows = zip(certificate.n_drawn[i], certificate.n_below[i], below, strict=True)
            return {"radii": [{"n_drawn": int(n), "n_below": int(k), "decision": b} for n, k, b in rows]}
        eps = self.row(certificate, i, units)["certified_eps"]
        return super().record(certificate, i, units) | {"certified_eps": real(eps)}

    def expected(self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int,
                 units: Units) -> dict[str, Any]:  # fmt: skip
        threshold = single(self.threshold)
        if self.anytime:
            rows = zip(record["radii"], ratios, strict=True)
            return {"radii": [self.expected_decision(given, ratio, threshold, each) for given, ratio in rows]}
        found = super().expected(record, ratios, each, n, units)
        for row in found["radii"]:
            certified = float(row["bound"])
            if not certified <= threshold:
                row["reason"] = row["reason"] or why_above(certified, self.threshold)
            row["bound"] = real(threshold if certified <= threshold else math.nan)
        certified_eps = largest_eps(sum(d <= threshold for d in record["draws"]), each)
        return found | {"certified_eps": real(labelled_radius(certified_eps, units))}

    def expected_decision(self, given: Mapping[str, Any], ratio: float, threshold: float,
                          each: Smoothing) -> dict[str, Any]:  # fmt: skip
        """Draws looked at, and those below the threshold -> the decision."""
        most, first = each.n_samples, min_samples(ratio, first_look(each).confidence, each.q)
        if first > most:
            reason = self.why_impossible(ratio, each)
            return {"decision": None, "n_drawn": 0, "n_below": 0, "bound": "nan", "reason": reason}
        alphas = dict(looks(int(first), most, each.confidence))
        drawn = given["n_drawn"] if given["n_drawn"] in alphas else most  # it stops only where it looks
        decision = decide(given["n_below"], drawn, shifted_quantile(each.q, ratio, 1), alphas[drawn])
        if decision is None:
            drawn = most  # it goes on to the last look
        reason = why_not_decided_below(decision, drawn, self.threshold)
        bound = real(threshold if decision else math.nan)
        return {"decision": decision, "n_drawn": drawn, "bound": bound, "reason": reason}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        if not self.anytime:
            yield from super().inconsistencies(record)
            return
        for j, row in enumerate(record["radii"]):
            if not 0 <= row["n_below"] <= row["n_drawn"]:
                yield f"radii[{j}].n_below: {row['n_below']} is not between 0 and n_drawn = {row['n_drawn']}"

    def n_rerun(self, record: Mapping[str, Any]) -> int:
        return max(1, *(r["n_drawn"] for r in record["radii"])) if self.anytime else super().n_rerun(record)

    def excused(self, record: Mapping[str, Any], field: str, recorded: Any, again: Any, *, narrow: bool) -> bool:
        return field == "n_below" and abs(recorded - again) <= 1


@dataclass(frozen=True)
class Decision:
    """Whether the certified value is at most the threshold.

    Attributes:
        below: for each image True (certified), False (no number of draws would certify it), or None
            (undecided). Object array.
        n_samples, n_below: draws that the decision took, and those at most the threshold.
        reason: why no image could be certified whatever was drawn; "" where it could."""

    below: np.ndarray
    n_samples: np.ndarray
    n_below: np.ndarray
    reason: str


def decide_threshold(draws: Draws, reference: Tensor, threshold: float, eps: float, each: Smoothing) -> Decision:
    """:func:`invsmooth.certificates.certify_threshold` with draws at hand."""
    from invsmooth.metrics import coarse_mse

    ratio, q_bar = ratio_of(eps, each.sigma), shifted_quantile(each.q, eps, each.sigma)
    nothing = np.zeros(len(draws), int)
    found = Decision(np.full(len(draws), None, dtype=object), nothing, nothing.copy(), "")
    first, most = min_samples(ratio, first_look(each).confidence, each.q), each.n_samples
    if first > most:
        return replace(found, reason=why_none(ratio, most, first_look(each).confidence, each.q))
    rounding = getattr(draws.estimator, "rounding", 0.0)
    for i in range(len(draws)):
        n_below = drawn = 0
        for wanted, alpha in looks(int(first), most, each.confidence):
            for _, x_hat in draws.image(i).chunks(drawn, wanted):
                n_below += int((coarse_mse(x_hat[0], reference[i : i + 1], rounding) <= threshold).sum())
            drawn = wanted
            found.below[i] = decide(n_below, drawn, q_bar, alpha)
            if found.below[i] is not None:
                break
        found.n_samples[i], found.n_below[i] = drawn, n_below
    return found


def first_look(each: Smoothing) -> Smoothing:
    """The settings of the first look, which spends half of 1 - c."""
    return replace(each, confidence=(1 + each.confidence) / 2)


def largest_eps(n_below: int, each: Smoothing) -> float:
    """At which the threshold is certified, if so many draws are at most that; nan for none."""
    ratio = certified_ratio(n_below, each.n_samples, each.confidence, each.q, dkw=each.dkw)
    # Without noise all draws are the same, and nothing is known of any other signal.
    return math.nan if ratio < 0 else ratio * each.sigma


def why_above(certified: float, threshold: float) -> str:
    return f"no certificate: the certified MSE {certified:.4g} is above threshold={threshold:.4g}"


def why_not_decided_below(below: bool | None, n_drawn: int, threshold: float) -> str:
    """Why a decision certifies nothing; "" where it does."""
    undecided = f"no certificate: undecided after {n_drawn} draws"
    known = f"no certificate: {n_drawn} draws show that the value to certify is above threshold={threshold:.4g}"
    return "" if below else undecided if below is None else known


def single(threshold: float) -> float:
    """The threshold as the draws, which are single precision, were compared with it."""
    with np.errstate(over="ignore"):
        return float(np.float32(threshold))
