"""The certifiers ``discrepancy``, ``error`` and ``radius``: percentiles of the MSE of one set of draws."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invsmooth.cache import Like
from invsmooth.certificates.certificate import Certificate, RadiusCertificate, object_rows
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.impossible import why_above
from invsmooth.certificates.order_statistics import (
    certified_ratio,
    order_statistic_index,
    ratio_of,
    shifted_quantile,
    why_none,
)
from invsmooth.metrics import coarse_mse


@dataclass(frozen=True)
class Percentile:
    """What is bounded: the q-quantile under a shift of each of ``radii``, from S draws with this confidence each.

    Attributes:
        dkw: one band for all radii and quantiles at once.
    """

    radii: Sequence[float]
    sigma: float
    n_samples: int
    confidence: float
    q: float
    dkw: bool

    def ranks(self) -> list[int | None]:
        """K for each radius; None where no draw bounds the shifted quantile."""
        return [
            order_statistic_index(
                self.n_samples, shifted_quantile(self.q, eps, self.sigma), self.confidence, dkw=self.dkw
            )
            for eps in self.radii
        ]

    def reasons(self) -> list[str]:
        ratios = [ratio_of(eps, self.sigma) for eps in self.radii]
        return [why_none(r, self.n_samples, self.confidence, self.q, dkw=self.dkw) for r in ratios]

    def certified_eps(self, errors: Tensor, threshold: float) -> Tensor:
        """The largest eps at which the certified value of errors (B, S) is at most ``threshold``, (B,); nan for none."""
        counts = (errors <= threshold).sum(1).tolist()
        ratios = [certified_ratio(k, self.n_samples, self.confidence, self.q, dkw=self.dkw) for k in counts]
        # Without noise all draws are the same, and nothing is known of any other signal.
        eps = [math.nan if r < 0 else r * self.sigma for r in ratios]
        return torch.tensor(eps, dtype=torch.float64, device=errors.device)


def percentile_certificates(
    draws: Draws,
    shown: Tensor,
    references: Mapping[str, Tensor],
    plan: Percentile,
    radius_of: str,
    threshold: float | None,
) -> dict[str, Certificate]:
    """Certificates of every reference, and of ``radius`` if it has a threshold, all from the same S draws.

    Args:
        shown: f(y), shape (B, C, H, W).
        references: certifier -> r, shape (B, C, H, W), which the draws are compared with.
        radius_of, threshold: the reference and the MSE of ``radius``.
    """
    # Without noise all draws are the same one.
    n_drawn = plan.n_samples if plan.sigma > 0 else 1
    errors = sample(draws, references, n_drawn)
    ranks, median = plan.ranks(), math.ceil(plan.n_samples / 2)
    wanted = sorted({median, *(k for k in ranks if k)})
    sorts = {name: e.expand(-1, plan.n_samples).sort(dim=1, stable=True) for name, e in errors.items()}
    index = torch.cat([s.indices[:, [k - 1 for k in wanted]] for s in sorts.values()], dim=1) % n_drawn
    pictures = draws.pick(index).split(len(wanted), dim=1)
    # Alone, without other certifiers that share the draws. What was recalled counts as what it took.
    again = 0 if draws.fit(n_drawn) else len(wanted)
    found = {}
    for (name, (ascending, _)), own in zip(sorts.items(), pictures, strict=True):
        by_rank: dict[int | None, Tensor] = dict(zip(wanted, own.unbind(1), strict=True))
        found[name] = Certificate(
            bound=torch.stack([ascending[:, k - 1] if k else ascending[:, 0] * math.nan for k in ranks], 1),
            k_index=object_rows(ranks, len(draws)),
            median=ascending[:, median - 1 : median].expand(-1, len(ranks)),
            reconstruction_median=by_rank[median][:, None].expand(-1, len(ranks), -1, -1, -1),
            reconstruction_certified=torch.stack([by_rank[k] if k else shown * math.nan for k in ranks], 1),
            reason=object_rows(plan.reasons(), len(draws)),
            sound=True,
            network_evals=1 + n_drawn + again,
            shown=shown,
            draws=ascending,
        )
    if threshold is not None:
        certified_eps = plan.certified_eps(errors[radius_of].expand(-1, plan.n_samples), threshold)
        found["radius"] = radius_certificate(found[radius_of], certified_eps, threshold)
    return found


def sample(draws: Draws, references: Mapping[str, Tensor], n_drawn: int) -> dict[str, Tensor]:
    """The MSE of the draws to each reference, (B, S)."""

    def errors_of_draws() -> dict[str, Tensor]:
        errors = {name: reference.new_empty(len(draws), n_drawn) for name, reference in references.items()}
        rounding = getattr(draws.estimator, "rounding", 0.0)
        for k, x_hat in draws.chunks(0, n_drawn):
            for name, reference in references.items():
                repeated = reference.repeat_interleave(x_hat.shape[1], dim=0)
                found = coarse_mse(x_hat.flatten(0, 1), repeated, rounding)
                errors[name][:, k] = found.unflatten(0, x_hat.shape[:2])
        return errors

    expected = {name: Like((len(draws), n_drawn)) for name in references}
    return dict(draws.remember("errors", errors_content(draws, references, n_drawn), errors_of_draws, expected))


def errors_content(draws: Draws, references: Mapping[str, Tensor], n_drawn: int) -> dict[str, Any]:
    """What determines the errors of the draws."""
    return draws.content(n_drawn) | {"references": references}


def radius_certificate(of: Certificate, certified_eps: Tensor, threshold: float) -> RadiusCertificate:
    """``bound`` is the threshold where the certified value is at most that, and nan with the reason elsewhere."""
    holds = of.bound <= threshold
    reason = of.reason.copy()
    for i, j in (~holds & ~of.bound.isnan()).nonzero().tolist():
        reason[i, j] = why_above(float(of.bound[i, j]), threshold)
    return RadiusCertificate(
        bound=torch.where(holds, torch.full_like(of.bound, threshold), math.nan), k_index=of.k_index, median=of.median,
        reconstruction_median=of.reconstruction_median, reconstruction_certified=of.reconstruction_certified,
        reason=reason, sound=of.sound, network_evals=of.network_evals, shown=of.shown, draws=of.draws,
        certified_eps=certified_eps,
    )  # fmt: skip
