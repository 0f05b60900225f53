"""What ``discrepancy``, ``error`` and ``radius`` share: percentiles of the MSE to a reference r.
Let F_r(z) be the MSE of g(z) = f(Az + b) to r, where r depends neither on delta nor on z. For every
z' within eps of z, the q-quantile of F_r(z' + delta) is at most the q̄-quantile of F_r(z + delta)
(:mod:`invsmooth.certificates.order_statistics`), and the draw of rank K bounds that with the
confidence asked for."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from invsmooth.certificates.certificate import Certificate, object_rows
from invsmooth.certificates.certifier import Certifier, Smoothing, Use
from invsmooth.certificates.fields import NUMBER, OR_NULL, WHOLE, real
from invsmooth.certificates.order_statistics import order_statistic_index, ratio_of, shifted_quantile, why_none
from invsmooth.core.units import Units

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.draws import Draws
    from invsmooth.checks.truth import Attacked, TruthCheck

RANKED = {"k_index": WHOLE + OR_NULL, "q_bar": NUMBER}
ORDERED: dict[str, Any] = {"median": NUMBER, "draws": [NUMBER], "radii": [RANKED]}
"""Fields of a record whose bounds are ranks of the recorded draws."""


class Percentile(Certifier):
    """A certifier of a percentile. Its bound is the MSE of the draw of rank K to the reference."""

    @property
    @abstractmethod
    def reference(self) -> str:
        """``"shown"`` (f(y)) or ``"x"``."""

    @property
    def needs_image(self) -> bool:
        return self.reference == "x"

    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        return why_none(ratio, smoothing.n_samples, smoothing.confidence, smoothing.q, dkw=smoothing.dkw)

    def references(self, shown: Tensor | None, x: Tensor | None) -> dict[str, Tensor]:
        reference = {"shown": shown, "x": x}[self.reference]
        return {} if reference is None else {self.reference: reference}

    def uses(self, draws: Draws, x: Tensor | None, each: Smoothing) -> list[Use]:
        return [Use("errors", draws.errors_content(each.n_drawn), each.n_drawn)]

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> Certificate:  # fmt: skip
        key = ("percentile", self.reference, tuple(eps), each)
        return draws.once(key, lambda: percentile_certificate(draws, self.reference, shown, eps, each))

    def truth(self, certificate: Certificate, attacked: Attacked, each: Smoothing) -> TruthCheck | None:
        from invsmooth.checks.truth import check_error

        reference = attacked.x if self.reference == "x" else certificate.shown
        return check_error(attacked, each, certificate.bound, reference=reference)

    # Its certificate file.

    @classmethod
    def fields(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        return ORDERED | {"quantile": NUMBER}

    def record(self, certificate: Certificate, i: int, units: Units) -> dict[str, Any]:
        return ordered_record(certificate, i)

    def quantile(self, q: float) -> float | None:
        return q

    def expected(self, record: Mapping[str, Any], ratios: Sequence[float], each: Smoothing, n: int,
                 units: Units) -> dict[str, Any]:  # fmt: skip
        draws = record["draws"]
        rows = [
            {"k_index": k, "bound": real(draws[k - 1] if k else math.nan), "reason": self.why_impossible(ratio, each)}
            for k, ratio in zip(ranks(ratios, each), ratios, strict=True)
        ]
        return {"median": draws[math.ceil(each.n_samples / 2) - 1], "radii": rows}

    def inconsistencies(self, record: Mapping[str, Any]) -> Iterator[str]:
        yield from draws_errors(record)


def ranks(ratios: Sequence[float], each: Smoothing) -> list[int | None]:
    """K for each eps/sigma; None where no draw bounds the shifted quantile."""
    q_bars = [shifted_quantile(each.q, ratio, 1) for ratio in ratios]
    return [order_statistic_index(each.n_samples, q_bar, each.confidence, dkw=each.dkw) for q_bar in q_bars]


def percentile_certificate(draws: Draws, reference: str, shown: Tensor, eps: Sequence[float],
                           each: Smoothing) -> Certificate:  # fmt: skip
    """Whose bounds are ranks of the errors to ``reference``, one of ``draws.references``."""
    import torch

    ratios = [ratio_of(e, each.sigma) for e in eps]
    of_eps, median = ranks(ratios, each), math.ceil(each.n_samples / 2)
    wanted = sorted({median, *(k for k in of_eps if k)})
    errors = draws.errors(each.n_drawn)[reference].expand(-1, each.n_samples)
    ascending, order = errors.sort(dim=1, stable=True)
    pictures = draws.pick(order[:, [k - 1 for k in wanted]] % each.n_drawn)
    by_rank: dict[int | None, Tensor] = dict(zip(wanted, pictures.unbind(1), strict=True))
    # The cost alone, without other certifiers that share the draws. A cached result counts as what it took.
    again = 0 if draws.fit(each.n_drawn) else len(wanted)
    reasons = [why_none(r, each.n_samples, each.confidence, each.q, dkw=each.dkw) for r in ratios]
    return Certificate(
        bound=torch.stack([ascending[:, k - 1] if k else ascending[:, 0] * math.nan for k in of_eps], 1),
        k_index=object_rows(of_eps, len(draws)), median=ascending[:, median - 1 : median].expand(-1, len(eps)),
        reconstruction_median=by_rank[median][:, None].expand(-1, len(eps), -1, -1, -1),
        reconstruction_certified=torch.stack([by_rank[k] if k else shown * math.nan for k in of_eps], 1),
        reason=object_rows(reasons, len(draws)), sound=True, network_evals=1 + each.n_drawn + again, shown=shown,
        draws=ascending,
    )  # fmt: skip


def ordered_record(certificate: Certificate, i: int) -> dict[str, Any]:
    """The fields ORDERED of image i."""
    rows = [{"k_index": None if k is None else int(k)} for k in certificate.k_index[i]]
    return {"median": float(certificate.median[i, 0]), "draws": certificate.draws[i].tolist(), "radii": rows}


def draws_errors(record: Mapping[str, Any]) -> Iterator[str]:
    """Whether the recorded draws are S errors in ascending order."""
    draws = record["draws"]
    if len(draws) != record["n_samples"]:
        yield f"number of draws, n_samples: recorded {record['n_samples']!r}, recomputed {len(draws)!r}"
    if not all(math.isfinite(d) and d >= 0 for d in draws):
        yield "draws: not all are finite and at least 0"
    for k, (a, b) in enumerate(pairwise(draws)):
        if not a <= b:
            yield f"draws: not in ascending order at rank {k + 1}: {a!r}, {b!r}"
            return
