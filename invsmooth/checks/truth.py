"""The truth check, which tries to refute a certificate: attack <= truth <= certificate.

The true value under the attack that was found is estimated from fresh draws, independent of the
certificate's and of the attack's, with a confidence interval of its own. A certificate is refuted
if even the lower end is above it: a correct one with a probability of at most (1 - its confidence)
+ (1 - ``confidence``)/2 in each check. Among many checks one can fail by chance, most likely of a
certificate without slack (eps near 0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from scipy.stats import binom
from torch import Tensor

from invsmooth.attacks.ball import norm, steepest
from invsmooth.attacks.quantile_error import quantile_rank
from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.order_statistics import check_quantile, check_sampling, order_statistic_index
from invsmooth.checks.mean_lower_bound import mean_lower_bound
from invsmooth.core.rng import ImageKeys, keys_of, stream_key
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.operators.base import Operator


@dataclass(frozen=True)
class Attacked:
    """A batch of images under the attack that was found: what a certificate is checked against.

    Attributes:
        x, b, xi: clean images (B, C, H, W), measurement noise, perturbation.
        x_hat: f(y_{x+xi}); only ``discrepancy`` needs it.
        n_samples: fresh draws of the check, for each image.
        image_keys: name of each image, which seeds its draws; None: its position."""

    estimator: Estimator
    operator: Operator
    x: Tensor
    b: Tensor | None
    xi: Tensor
    x_hat: Tensor | None
    n_samples: int
    image_keys: ImageKeys | None = None

    def draws(self, z: Tensor, smoothing: Smoothing, seed: int) -> Draws:
        """Smoothed reconstructions of the signals z: ``smoothing`` but for its seed."""
        y = self.operator.A(z) if self.b is None else self.operator.A(z) + self.b
        keys, shape = keys_of(len(self.x), self.image_keys), self.x.shape[1:]
        return Draws(self.estimator, self.operator, y, smoothing.sigma, shape, seed, keys, smoothing.chunk_size)


@dataclass(frozen=True)
class TruthCheck:
    """The truth under an attack, and what was certified. Values of shape (B,), in the unit of the
    certificate.

    Attributes:
        lower, upper: confidence limits; -inf and inf (or 0 for a distance) where there are none.
        certified: the certified value; nan where none exists, which nothing refutes.
        confidence: two-sided, for each image: each limit alone fails with (1 - confidence)/2.
        n_samples, network_evals: for each image.
        seed: as given; the draws depend on it, the image's key and nothing else.
        evidence: what reproduces the check beside the attack. Tensors have an entry for each image.
            ``checked``: the certified value in the unit of the check."""

    estimate: Tensor
    lower: Tensor
    upper: Tensor
    certified: Tensor
    confidence: float
    n_samples: int
    seed: int
    network_evals: int
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def violated(self) -> Tensor:
        """Whether the certificate is refuted, shape (B,)."""
        return self.lower > self.certified

    def scaled(self, *, power: float, factor: float) -> TruthCheck:
        """The check in another unit (all but its evidence): values to this power, times factor."""
        values = {k: getattr(self, k) ** power * factor for k in ("estimate", "lower", "upper", "certified")}
        return replace(self, **values)

    def evidence_of(self, i: int) -> dict[str, Any]:
        """Of image i; its tensors with a batch of one."""
        return {k: v[i : i + 1] if isinstance(v, Tensor) else v for k, v in self.evidence.items()}


def interval_ranks(n_samples: int, q: float, confidence: float) -> tuple[int | None, int | None]:
    """Ranks (1-based) of the draws that enclose the q-quantile; None where the draws have no limit
    on that side.

    With F's q-quantile D = inf{t: F(t) >= q} and draws X_(1) <= … <= X_(S): the lower rank is the
    largest L with P[Bin(S, q) <= L - 1] <= (1 - c)/2, so that X_(L) > D has at most this
    probability, whatever F; the upper one is the certificates'
    (:func:`invsmooth.certificates.order_statistic_index`) at confidence (1 + c)/2."""
    check_sampling(n_samples, confidence)
    check_quantile(q)
    lower = int(binom.ppf((1 - confidence) / 2, n_samples, q))
    return lower or None, order_statistic_index(n_samples, q, (1 + confidence) / 2)


def check_error(
    attacked: Attacked, smoothing: Smoothing, certified: Tensor, *, reference: Tensor | None = None,
    q: float | None = None, confidence: float = 0.999,
) -> TruthCheck:  # fmt: skip
    """Check a percentile certificate: the q-quantile over delta of l(f(A(x + xi + delta) + b), r)
    against its bound.

    For ``error`` r = x, and the bound is certified at the clean measurement. For ``discrepancy``,
    certified at y_obs = A(z + b) with r = f(y_obs), give r as ``reference``; x + xi is then any
    signal within eps of z.

    Args:
        smoothing: of the certificate. The check's draws are others.
        certified: bounds on the MSE, shape (B,); nan where none exists.
        reference: r, shape (B, C, H, W); left out, x.
        q: the quantile, if it is another than that of ``smoothing``.
    Raises: ValueError: a value outside its range."""
    n_samples, q = attacked.n_samples, smoothing.q if q is None else q
    low, high = interval_ranks(n_samples, q, confidence)
    fixed = attacked.x if reference is None else reference
    draws = attacked.draws(attacked.x + attacked.xi, smoothing, check_seed(smoothing.seed))
    with torch.no_grad(), frozen(attacked.estimator):
        chunks = draws.chunks(0, n_samples)
        errors = torch.cat([(f - fixed[:, None]).square().flatten(2).mean(2) for _, f in chunks], 1)
    ascending = errors.sort(dim=1).values
    none = torch.full_like(ascending[:, 0], torch.inf)
    return TruthCheck(
        estimate=ascending[:, quantile_rank(q, n_samples) - 1],
        lower=ascending[:, low - 1] if low else -none,
        upper=ascending[:, high - 1] if high else none,
        certified=certified.to(errors), confidence=confidence, n_samples=n_samples, seed=smoothing.seed,
        network_evals=n_samples, evidence={"reference": fixed, "checked": certified.to(errors), "quantile": q},
    )  # fmt: skip


def check_mean(
    attacked: Attacked, smoothing: Smoothing, certified: Tensor, *, centre: Tensor, radius: Tensor,
    confidence: float = 0.999,
) -> TruthCheck:  # fmt: skip
    """Check a certificate of the mean: ||m(x + xi) - m(x)||_2 against the certified shift.

    m(z) = E f~(A(z + delta) + b) with the certified network f~ = c + (f - c) min(1, R/||f - c||),
    clipped to the ball of radius R around c (SPEC section 6, certifier ``mean``). Both means are
    taken over the same delta_k, so that only the difference D_k = f~(y_{x+xi+delta_k}) -
    f~(y_{x+delta_k}) varies: its mean d is the shift.

    The estimate is the root of the unbiased estimate of ||d||², (||sum D_k||² - sum
    ||D_k||²)/(S(S-1)), 0 if that is negative. The lower limit: with a unit vector u from the first
    half of the draws, <u, d> <= ||d||, and <u, D_k> over the second half are independent numbers of
    mean <u, d> in [-2R, 2R]. Their lower bound (:mod:`invsmooth.checks.mean_lower_bound`) fails
    with probability at most (1 - confidence)/2, without an assumption of normality. It lies about
    2.2 R log(2/(1 - c)) 2/S below ||d|| at best: a shift that is small against R needs thousands of
    draws. There is no upper limit (inf).

    Args:
        smoothing: of the certificate. The check's draws are others, at least 4.
        certified: bounds on the l2 norm of the shift, shape (B,); nan where none exists.
        centre, radius: c, shape (B, C, H, W), and R, shape (B,).
    Raises: ValueError: a value outside its range."""
    n_samples, first = attacked.n_samples, attacked.n_samples // 2
    check_sampling(n_samples, confidence)
    if n_samples < 4:
        raise ValueError(f"n_samples={n_samples} has to be at least 4: a direction and a mean are estimated from it")
    total = torch.zeros_like(attacked.x, dtype=torch.float64)
    squared, along = total.new_zeros(len(total)), []
    with torch.no_grad(), frozen(attacked.estimator):
        for difference in differences(attacked, smoothing, "direction", first, centre, radius):
            total += difference.sum(1)
            squared += difference.square().flatten(1).sum(1)
        direction = steepest(total)
        # The spread in all directions: more than along one, and soon outweighed by the draws.
        variance = (squared - norm(total).flatten().square() / first) / first
        for difference in differences(attacked, smoothing, "mean", n_samples - first, centre, radius):
            total += difference.sum(1)
            squared += difference.square().flatten(1).sum(1)
            along.append((difference * direction[:, None]).flatten(2).sum(2))
    each = (1 + confidence) / 2
    lower = mean_lower_bound(torch.cat(along, 1), lowest=-2 * radius, variance=variance, confidence=each)
    unbiased = (norm(total).flatten().square() - squared) / (n_samples * (n_samples - 1))
    certified = certified.to(lower)
    return TruthCheck(
        estimate=unbiased.clamp_min(0).sqrt(), lower=lower.clamp_min(0), upper=torch.full_like(lower, torch.inf),
        certified=certified, confidence=confidence, n_samples=n_samples, seed=smoothing.seed, network_evals=2 * n_samples,
        evidence={"centre": centre, "radius": radius, "checked": certified},
    )  # fmt: skip


def differences(attacked: Attacked, smoothing: Smoothing, purpose: str, n: int, centre: Tensor,
                radius: Tensor) -> Iterator[Tensor]:  # fmt: skip
    """D_k of n draws in chunks, shape (B, s, C, H, W), float64."""
    seed = check_seed(smoothing.seed, purpose)
    both = [attacked.draws(z, smoothing, seed).chunks(0, n) for z in (attacked.x + attacked.xi, attacked.x)]
    for (_, there), (_, here) in zip(*both, strict=True):
        yield clipped(there, centre, radius).double() - clipped(here, centre, radius).double()


def clipped(x_hat: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Reconstructions (B, s, C, H, W) drawn to at most ``radius`` (B,) from the centre."""
    away = x_hat - centre[:, None]
    distance = away.flatten(2).norm(dim=2)
    return centre[:, None] + away * (radius[:, None] / distance.clamp_min(1e-30)).clamp_max(1)[..., None, None, None]


def check_seed(seed: int, *purpose: str) -> int:
    """A seed for draws that are not those of a certificate or an attack with the same ``seed``."""
    return stream_key(seed, "sandwich", *purpose)
