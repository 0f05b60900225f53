"""The certifier ``center``: center smoothing (Kumar & Goldstein 2021; SPEC 6.4).

The smoothed reconstruction of a measurement is a draw in the middle of the others. The statement:
with probability at least c, the centre found at ANY z' within eps, by the same procedure with fresh
draws and unless it abstains there, is at most 3 R-hat away from the one found here. (The ball of
radius R-hat around this centre holds more than half of the draws at z'. So the least median
distance there is at most 2 R-hat, and the two balls meet.)"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from invsmooth.certificates import center_smoothing
from invsmooth.certificates.center_smoothing import BALL_FACTOR, DELTA
from invsmooth.certificates.certificate import Certificate
from invsmooth.certificates.certifier import Certifier, Smoothing, Use
from invsmooth.certificates.fields import AT_LEAST_1, FLAG, NUMBER, SHARE, WHOLE, real
from invsmooth.certificates.order_statistics import ratio_of
from invsmooth.certificates.percentile import ORDERED, draws_errors, ordered_record
from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.draws import Draws
    from invsmooth.checks.truth import Attacked, TruthCheck

CANDIDATE_BYTES = 2**26
FEWEST_CANDIDATES, MOST_CANDIDATES = 64, 256
"""The centre is one of the first draws, at most n_pred, that fit into CANDIDATE_BYTES. That none
of 64 lies in a ball that holds more than half of the draws has a probability below 2^-73."""
SLACK = 1e-6  # Relative rounding of the recorded share in the ball


@dataclass(frozen=True, repr=False)
class CenterCertificate(Certificate):
    """``bound`` is (3 R-hat)²/n, the MSE between the centres at z and at any z' within eps. One
    that ``abstained``, shape (B,), has no bound and no picture. ``share_in_ball``: of the second
    sample, around the centre, shape (B,); ``n_pred``: draws of the first and the second."""

    abstained: Tensor
    share_in_ball: Tensor
    n_pred: int


@dataclass(frozen=True)
class Centre:
    """One image's centre, shape (C, H, W); the share of a second sample of n_pred draws that lies
    within the least median distance; the MSE of a third sample of S draws to it, ascending."""

    picture: Tensor
    share: float
    distances: Tensor


class Center(Certifier):
    """The centres of center smoothing at z and at any z' within eps are at most ``bound`` (MSE)
    apart, unless one abstains. Three independent samples: n_pred draws choose the centre, n_pred
    decide whether to abstain (alpha_1), S give R-hat (alpha_2).

    Args:
        n_pred: None takes the fewest that seldom abstain at the confidence (4794 at 0.99)."""

    name = "center"
    declared = CertifierDeclaration(
        name="center", statement="centre: MSE by which it can move", order=50, colour="#009E73", marker="^", shown="centre",
        axis="center: MSE that\nthe centre can move",
        columns=(Column("abstained", "", "The draws did not show that a small ball holds half of them.", kind="flag"),),
    )  # fmt: skip

    ranges: ClassVar = {"n_pred": AT_LEAST_1, "share_in_ball": SHARE}

    def __init__(self, n_pred: Annotated[int, Field(ge=1, description="a whole number >= 1")] | None = None) -> None:
        self.n_pred = n_pred

    def check(self, smoothing: Smoothing) -> None:
        if self.n_pred is not None and self.n_pred < 1:
            raise ValueError(f"n_pred={self.n_pred} has to be at least 1")

    def n_first(self, each: Smoothing) -> int:
        return center_smoothing.default_n_pred(each.confidence) if self.n_pred is None else self.n_pred

    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        n_samples, confidence, dkw = smoothing.n_samples, smoothing.confidence, smoothing.dkw
        return center_smoothing.why_no_center(ratio, n_samples, confidence, self.n_pred, dkw=dkw)

    def stops(self, each: Smoothing) -> tuple[int, ...]:
        return ()  # it passes over its thousands of draws once

    def n_draws(self, each: Smoothing) -> int:
        return 2 * self.n_first(each) + each.n_samples

    def uses(self, draws: Draws, x: Tensor | None, each: Smoothing) -> list[Use]:
        n_first = each.distinct(self.n_first(each))
        content = centre_content(draws.image(0), n_first, each.n_drawn)
        return [Use("centre", content, 2 * n_first + each.n_drawn)]

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> CenterCertificate:  # fmt: skip
        import torch

        n_first = each.distinct(self.n_first(each))
        found = [cached_centre(draws.image(i), n_first, each.n_drawn) for i in range(len(draws))]
        ratios = [ratio_of(e, draws.sigma) for e in eps]
        verdicts = [self.verdict(c.share, ratios, each) for c in found]
        k_index, reason = (np.array([v[k] for v in verdicts], dtype=object) for k in (1, 2))
        distances = torch.stack([c.distances.expand(each.n_samples) for c in found])
        bounds = [
            [BALL_FACTOR * float(own[k - 1]) if k else math.nan for k in row]
            for own, row in zip(distances, k_index, strict=True)
        ]
        medians = [c.distances[math.ceil(each.n_drawn / 2) - 1] for c in found]
        centres = torch.stack([c.picture * (math.nan if v[0] else 1.0) for c, v in zip(found, verdicts, strict=True)])
        pictures = centres[:, None].expand(-1, len(eps), -1, -1, -1)
        return CenterCertificate(
            bound=torch.tensor(bounds, dtype=torch.float64, device=draws.y.device), k_index=k_index,
            median=torch.stack(medians)[:, None].expand(-1, len(eps)), reconstruction_median=pictures,
            reconstruction_certified=pictures, reason=reason, sound=True, network_evals=1 + 2 * n_first + each.n_drawn,
            shown=centres, draws=distances, abstained=torch.tensor([v[0] for v in verdicts]),
            share_in_ball=torch.tensor([c.share for c in found]), n_pred=self.n_first(each),
        )  # fmt: skip

    def verdict(self, share: float, ratios: Sequence[float],
                each: Smoothing) -> tuple[bool, list[int | None], list[str]]:  # fmt: skip
        """Whether it abstains; for each eps/sigma the rank of R-hat, and why there is no bound."""
        alone = center_smoothing.why_abstained(share, self.n_first(each), each.confidence)
        k = [center_smoothing.center_index(each.n_samples, r, each.confidence, dkw=each.dkw) for r in ratios]
        given = Center(self.n_first(each))
        reasons = [given.why_impossible(ratio, each) or alone for ratio in ratios]
        return bool(alone), [None] * len(ratios) if alone else k, reasons

    def row(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        assert isinstance(certificate, CenterCertificate)
        return {"abstained": bool(certificate.abstained[i])}

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        """Of the ball of radius R-hat; times 3 as in the bound."""
        from invsmooth.checks.truth import check_error

        found = check_error(attacked, each, certificate.bound / BALL_FACTOR, reference=certificate.shown, q=0.5 + DELTA)
        return found.scaled(power=1, factor=BALL_FACTOR)

    # Its certificate file.

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        return ORDERED | {"n_pred": WHOLE, "share_in_ball": NUMBER, "abstained": FLAG}

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        assert isinstance(certificate, CenterCertificate)
        own = {"n_pred": certificate.n_pred, "share_in_ball": float(certificate.share_in_ball[i])}
        return ordered_record(certificate, i) | own | self.row(certificate, i, units)

    def quantile(self, q: float) -> float | None:
        return 0.5 + DELTA

    def expected(self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int,
                 units: Units) -> dict[str, Any]:  # fmt: skip
        draws, n_pred = record["draws"], self.n_first(each)
        share = round(record["share_in_ball"] * n_pred) / n_pred  # recorded in single precision
        abstained, of_eps, reasons = self.verdict(share, ratios, each)
        rows = [
            {"k_index": k, "bound": real(BALL_FACTOR * draws[k - 1] if k else math.nan), "reason": reason}
            for k, reason in zip(of_eps, reasons, strict=True)
        ]
        return {"abstained": abstained, "median": draws[math.ceil(each.n_samples / 2) - 1], "radii": rows}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        yield from draws_errors(record)
        share, n_pred = record["share_in_ball"], record["n_pred"]
        if record["sigma"] > 0 and abs(share * n_pred - round(share * n_pred)) > SLACK * n_pred:
            yield f"share_in_ball: {share!r} is no share of n_pred = {n_pred} draws"

    def excused(self, record: Mapping[str, Any], field: str, recorded: Any, again: Any, *, narrow: bool) -> bool:
        by_rounding = narrow and field in ("share_in_ball", "abstained", "k_index")  # it may abstain by that alone
        return by_rounding or (field == "share_in_ball" and abs(recorded - again) * record["n_pred"] < 1.5)


def cached_centre(draws: Draws, n_pred: int, n_samples: int) -> Centre:
    """From the draws of one image, or from the cache if it is there."""
    import torch

    from invsmooth.cache import Like

    def squared_distances(centre: Tensor, start: int, count: int) -> Tensor:
        chunks = draws.chunks(start, start + count)
        return torch.cat([(x_hat[0].flatten(1).double() - centre).square().sum(1) for _, x_hat in chunks])

    def compute() -> Mapping[str, Tensor]:
        centre, ball = least_median_distance(draws, n_pred)
        share = (squared_distances(centre, n_pred, n_pred) <= ball).double().mean()
        distances = squared_distances(centre, 2 * n_pred, n_samples).sort().values / centre.numel()
        return {"picture": centre.view(draws.image_shape).to(draws.y), "share": share, "distances": distances}

    expected = {"picture": Like(tuple(draws.image_shape)), "share": Like(dtype=torch.float64),
                "distances": Like((n_samples,), torch.float64)}  # fmt: skip
    found = draws.remember("centre", centre_content(draws, n_pred, n_samples), compute, expected)
    return Centre(found["picture"], found["share"].item(), found["distances"])


def centre_content(draws: Draws, n_pred: int, n_samples: int) -> dict[str, Any]:
    return draws.content(2 * n_pred + n_samples) | {"n_pred": n_pred}


def least_median_distance(draws: Draws, n_pred: int) -> tuple[Tensor, Tensor]:
    """The candidate with the least median distance (rank ceil(n_pred/2)) to n_pred draws, itself
    among them, as a float64 vector, and the square of that distance."""
    import torch

    fit = CANDIDATE_BYTES // (8 * draws.image_shape.numel())
    n_candidates = min(n_pred, MOST_CANDIDATES, max(FEWEST_CANDIDATES, fit))
    candidates = torch.cat([x_hat[0].flatten(1).double() for _, x_hat in draws.chunks(0, n_candidates)])
    # Distances do not change with the origin; near the draws little cancels in |a|² + |b|² - 2ab.
    origin = candidates[0].clone()
    candidates -= origin
    squares = candidates.square().sum(1)
    parts = [squares[:, None] + squares - 2 * candidates @ candidates.T]
    for _, x_hat in draws.chunks(n_candidates, n_pred):
        rows = x_hat[0].flatten(1).double() - origin
        parts.append(squares[:, None] + rows.square().sum(1) - 2 * candidates @ rows.T)
    medians = torch.cat(parts, dim=1).clamp_min(0).kthvalue(math.ceil(n_pred / 2), dim=1).values
    best = int(medians.argmin())
    return candidates[best] + origin, medians[best]
