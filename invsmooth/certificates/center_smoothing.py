"""Center smoothing: the thresholds of Kumar & Goldstein (2021), "Center Smoothing: Certified
Robustness for Networks with Structured Outputs", with the exact binomial rule in place of their
interpolated quantile plus Hoeffding (SPEC 6.4). Half of the failure probability 1 - c is alpha_1,
for the two Hoeffding bounds, half alpha_2, for the order statistic. No torch."""

from __future__ import annotations

import math

from invsmooth.certificates.order_statistics import check_sampling, order_statistic_index, shifted_quantile, why_none

DELTA = 0.05  # Delta: how far from one half the share of outputs in the ball may be
BALL_FACTOR = 9  # The bound over R-hat², both as MSE: the centres are at most 3 R-hat apart


def split_alpha(confidence: float) -> tuple[float, float]:
    """(alpha_1, alpha_2), equal halves of 1 - c: 0.005 each at c = 0.99."""
    check_sampling(1, confidence)
    return (1 - confidence) / 2, (1 - confidence) / 2


def hoeffding_slack(n_pred: int, confidence: float) -> float:
    """Delta_1 = sqrt(ln(2/alpha_1) / (2 n_pred)): a share among n_pred draws is this close to
    its probability, on one side with probability 1 - alpha_1/2."""
    return math.sqrt(math.log(2 / split_alpha(confidence)[0]) / (2 * n_pred))


def default_n_pred(confidence: float) -> int:
    """The fewest candidates with Delta_1 <= Delta/2: the other half is left for the share in the
    ball to scatter, so that few images are abstained from. 4794 at c = 0.99."""
    return math.ceil(math.log(2 / split_alpha(confidence)[0]) / (2 * (DELTA / 2) ** 2))


def why_abstained(share_in_ball: float, n_pred: int, confidence: float) -> str:
    """Why no centre is returned, "" where one is: Delta_1 and Delta_2 = 1/2 - (share - Delta_1)
    must be at most Delta. The share is of n_pred FRESH draws."""
    delta_1 = hoeffding_slack(n_pred, confidence)
    delta_2 = 0.5 - (share_in_ball - delta_1)
    if delta_1 > DELTA:
        return f"abstained: {n_pred} draws are too few (Delta_1 = {delta_1:.4f} is above {DELTA:g}); give more n_pred"
    if delta_2 <= DELTA:
        return ""
    return (
        f"abstained: of {n_pred} fresh draws a share of {share_in_ball:.4f} lies in the ball around the centre, which does "
        f"not show that at least {0.5 - DELTA:g} do (Delta_2 = {delta_2:.4f} is above {DELTA:g}); more n_pred draws may help"
    )


def center_index(n_samples: int, ratio: float, confidence: float, *, dkw: bool = False) -> int | None:
    """Rank of the distance R-hat: it bounds the Phi(Phi^{-1}(1/2 + Delta) + eps/sigma)-quantile
    of the distances to the centre with probability 1 - alpha_2; None where no draw does."""
    q_bar, each = shifted_quantile(0.5 + DELTA, ratio, 1), 1 - split_alpha(confidence)[1]
    return None if math.isinf(ratio) else order_statistic_index(n_samples, q_bar, each, dkw=dkw)


def why_no_center(ratio: float, n_samples: int, confidence: float, n_pred: int | None = None, *,
                  dkw: bool = False) -> str:  # fmt: skip
    """Why center smoothing can give no bound at eps/sigma = ``ratio``; "" where it can."""
    if n_pred is not None and hoeffding_slack(n_pred, confidence) > DELTA:
        needed = math.ceil(math.log(2 / split_alpha(confidence)[0]) / (2 * DELTA**2))
        return (
            f"no certificate: center smoothing always abstains with n_pred = {n_pred}; it needs n_pred >= {needed} at "
            f"confidence {confidence:g}"
        )
    return why_none(ratio, n_samples, 1 - split_alpha(confidence)[1], 0.5 + DELTA, dkw=dkw)
