"""The check that tries to refute a certificate: attack <= truth <= certificate.

What an attack found is a case that the certificate speaks about. How the smoothed reconstruction really behaves there is
estimated from fresh draws, independent of the certificate's and of the attack's, with a confidence interval of its own. A
certificate is refuted where even the interval's lower end lies above it.

A certificate that is right is refuted with a probability of at most (1 - its confidence) + (1 - ``confidence``)/2 for each
check: where there are many checks, one can come by chance, most likely where the certificate has no slack (eps near 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor

from invsmooth.attacks.ball import norm, steepest
from invsmooth.attacks.quantile_error import quantile_rank
from invsmooth.attacks.search import ImageKeys, keys_of
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.order_statistics import check_quantile, check_sampling, order_statistic_index
from invsmooth.checks.mean_lower_bound import mean_lower_bound
from invsmooth.core.rng import stream_key
from invsmooth.estimators.frozen import Estimator, frozen
from invsmooth.operators.base import Operator


@dataclass(frozen=True)
class Attacked:
    """A batch of images under the attack that was found: what a certificate is checked against.

    Attributes:
        estimator, operator: f and A.
        x, b, xi: clean images (B, C, H, W), measurement noise, perturbation.
        x_hat: f(y_{x+xi}).
        n_samples: fresh draws of the check.
        image_keys: name of each image, which seeds its draws.
    """

    estimator: Estimator
    operator: Operator
    x: Tensor
    b: Tensor
    xi: Tensor
    x_hat: Tensor
    n_samples: int
    image_keys: ImageKeys


@dataclass(frozen=True)
class TruthCheck:
    """The truth under an attack, and what was certified. Values of shape (B,), in the unit of the certificate.

    Attributes:
        estimate: of the truth.
        lower, upper: its confidence limits; -inf and inf (or 0 for a distance) where the draws give none.
        certified: the certified value; nan where none exists, which nothing refutes.
        confidence: two-sided, of the interval of each image: each limit alone fails with (1 - confidence)/2.
        n_samples: fresh draws for each image.
        seed: what was asked for; the draws depend on it, the image's key and nothing else.
        network_evals: for each image.
    """

    estimate: Tensor
    lower: Tensor
    upper: Tensor
    certified: Tensor
    confidence: float
    n_samples: int
    seed: int
    network_evals: int

    @property
    def violated(self) -> Tensor:
        """Whether the certificate is refuted, shape (B,)."""
        return self.lower > self.certified


def interval_ranks(n_samples: int, q: float, confidence: float) -> tuple[int | None, int | None]:
    """Ranks (1-based) of the draws that enclose the q-quantile; None where the draws have no limit on that side.

    With F's q-quantile D = inf{t: F(t) >= q} and draws X_(1) <= … <= X_(S): the lower rank is the largest L with
    P[Bin(S, q) <= L - 1] <= (1 - c)/2, so that X_(L) > D has at most this probability, whatever F; the upper one is the
    certificates' (:func:`invsmooth.certificates.order_statistic_index`) at confidence (1 + c)/2.

    Raises: ValueError: a value outside its range.
    """
    check_sampling(n_samples, confidence)
    check_quantile(q)
    lower = int(binom.ppf((1 - confidence) / 2, n_samples, q))
    return lower or None, order_statistic_index(n_samples, q, (1 + confidence) / 2)


def check_error(
    estimator: Estimator,
    operator: Operator,
    x: Tensor,
    b: Tensor | None,
    xi: Tensor,
    *,
    certified: Tensor,
    sigma: float,
    n_samples: int,
    reference: Tensor | None = None,
    q: float = 0.5,
    confidence: float = 0.999,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
    chunk_size: int | None = None,
) -> TruthCheck:
    """Check a percentile certificate: the q-quantile over delta of l(f(A(x + xi + delta) + b), r) against its bound.

    For the ``error`` certifier r = x, and the bound is certified at the clean measurement. For ``discrepancy``, certified at
    y_obs = A(z + b) with r = f(y_obs), give r as ``reference``; x + xi is then any signal within eps of z.

    Args:
        estimator, operator, x, b, xi: as for and from an attack; shapes (B, C, H, W), b in the shape of y.
        certified: bounds on the MSE, shape (B,); nan where none exists.
        sigma: standard deviation of delta, [0, 1] pixel scale.
        n_samples: fresh draws for each image.
        reference: r, shape (B, C, H, W); left out, x.
        q: the certified quantile.
        confidence: of the two-sided interval.
        seed, image_keys: determine the draws, together with nothing else. The same seed as the certificate's gives others.
        chunk_size: draws at a time.
    Raises:
        ValueError: a value outside its range.
    """
    low, high = interval_ranks(n_samples, q, confidence)
    y = measured(operator, x + xi, b)
    with torch.no_grad(), frozen(estimator):
        draws = Draws(estimator, operator, y, sigma, x.shape[1:], check_seed(seed), keys_of(x, image_keys), chunk_size)
        fixed = (x if reference is None else reference)[:, None]
        errors = torch.cat([(f - fixed).square().flatten(2).mean(2) for _, f in draws.chunks(0, n_samples)], 1)
    ascending = errors.sort(dim=1).values
    none = torch.full_like(ascending[:, 0], torch.inf)
    return TruthCheck(
        estimate=ascending[:, quantile_rank(q, n_samples) - 1],
        lower=ascending[:, low - 1] if low else -none,
        upper=ascending[:, high - 1] if high else none,
        certified=certified.to(errors), confidence=confidence, n_samples=n_samples, seed=seed, network_evals=n_samples,
    )  # fmt: skip


def check_mean(
    estimator: Estimator,
    operator: Operator,
    x: Tensor,
    b: Tensor | None,
    xi: Tensor,
    *,
    certified: Tensor,
    centre: Tensor,
    radius: Tensor,
    sigma: float,
    n_samples: int,
    confidence: float = 0.999,
    seed: int = 0,
    image_keys: ImageKeys | None = None,
    chunk_size: int | None = None,
) -> TruthCheck:
    """Check a certificate of the mean: ||m(x + xi) - m(x)||_2 against the certified shift.

    m(z) = E f~(A(z + delta) + b) with the certified network f~ = c + (f - c) min(1, R/||f - c||), clipped to the ball of
    radius R around c (SPEC section 6, certifier ``mean``). Both means are taken over the same delta_k, so that only the
    difference D_k = f~(y_{x+xi+delta_k}) - f~(y_{x+delta_k}) varies: its mean d is the shift.

    The estimate is the root of the unbiased estimate of ||d||², (||sum D_k||² - sum ||D_k||²)/(S(S-1)), 0 where that is
    negative. The lower limit: with a unit vector u from the first half of the draws, <u, d> <= ||d||, and <u, D_k> over
    the second half are independent numbers of mean <u, d> in [-2R, 2R]; the bound of
    :func:`invsmooth.checks.mean_lower_bound.mean_lower_bound` on it fails with probability at most (1 - confidence)/2,
    without an assumption of normality. It lies about 2.2 R log(2/(1 - c)) 2/S below ||d|| at best, which asks for
    thousands of draws where the shift is small against R. There is no upper limit (inf).

    Args:
        certified: bounds on the l2 norm of the shift, shape (B,); nan where none exists.
        centre: c, shape (B, C, H, W).
        radius: R, shape (B,).
        n_samples: fresh draws for each image, at least 4.
        the others: as for :func:`check_error`.
    Raises:
        ValueError: a value outside its range.
    """
    check_sampling(n_samples, confidence)
    if n_samples < 4:
        raise ValueError(f"n_samples={n_samples} has to be at least 4: a direction and a mean are estimated from it")
    keys = keys_of(x, image_keys)

    def differences(purpose: str, n: int) -> Iterator[Tensor]:
        """D_k of n draws in chunks, shape (B, s, C, H, W), float64."""
        both = [
            Draws(
                estimator,
                operator,
                measured(operator, z, b),
                sigma,
                x.shape[1:],
                check_seed(seed, purpose),
                keys,
                chunk_size,
            ).chunks(0, n)
            for z in (x + xi, x)
        ]
        for (_, attacked), (_, clean) in zip(*both, strict=True):
            yield clipped(attacked, centre, radius).double() - clipped(clean, centre, radius).double()

    n = n_samples // 2, n_samples - n_samples // 2
    total, squared = torch.zeros_like(x, dtype=torch.float64), x.new_zeros(len(x), dtype=torch.float64)
    along = []
    with torch.no_grad(), frozen(estimator):
        for difference in differences("direction", n[0]):
            total += difference.sum(1)
            squared += difference.square().flatten(1).sum(1)
        direction = steepest(total)
        # The spread in all directions together: more than that along one, and soon outweighed by what is seen.
        variance = (squared - norm(total).flatten().square() / n[0]) / n[0]
        for difference in differences("mean", n[1]):
            total += difference.sum(1)
            squared += difference.square().flatten(1).sum(1)
            along.append((difference * direction[:, None]).flatten(2).sum(2))
    lower = mean_lower_bound(
        torch.cat(along, 1), lowest=-2 * radius, variance=variance, confidence=(1 + confidence) / 2
    )
    unbiased = (norm(total).flatten().square() - squared) / (n_samples * (n_samples - 1))
    return TruthCheck(
        estimate=unbiased.clamp_min(0).sqrt(), lower=lower.clamp_min(0), upper=torch.full_like(lower, torch.inf),
        certified=certified.to(lower), confidence=confidence, n_samples=n_samples, seed=seed, network_evals=2 * n_samples,
    )  # fmt: skip


def clipped(x_hat: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Reconstructions (B, s, C, H, W) drawn to at most ``radius`` (B,) from the centre (B, C, H, W)."""
    away = x_hat - centre[:, None]
    distance = away.flatten(2).norm(dim=2)
    return centre[:, None] + away * (radius[:, None] / distance.clamp_min(1e-30)).clamp_max(1)[..., None, None, None]


def measured(operator: Operator, z: Tensor, b: Tensor | None) -> Tensor:
    return operator.A(z) if b is None else operator.A(z) + b


def check_seed(seed: int, *purpose: str) -> int:
    """A seed for the draws of a check: those of a certificate and of an attack with the same ``seed`` are others."""
    return stream_key(seed, "sandwich", *purpose)
