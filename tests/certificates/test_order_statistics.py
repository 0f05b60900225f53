from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invsmooth.certificates import max_certifiable_ratio, min_samples, order_statistic_index, shifted_quantile, why_none

REFERENCE = [
    (50, 10 / 12, 47), (50, 1, 48), (50, 5 / 19, 39), (50, 0, 34), (50, 1.3, 50), (50, 1.36, None), (50, 2, None),
    (1000, 2, 988), (1000, 2.6, 1000), (1000, 2.61, None),
]  # fmt: skip


def exact_index(n_samples: int, q: float, confidence: float) -> int | None:
    """K = min{k : P[Bin(S, q) <= k - 1] >= c} in exact arithmetic: all terms have the denominator b^S, q = a / b."""
    (a, b), c, cumulated = Fraction(q).as_integer_ratio(), Fraction(confidence), 0
    for k in range(1, n_samples + 1):
        j = k - 1
        cumulated += math.comb(n_samples, j) * a**j * (b - a) ** (n_samples - j)
        if cumulated * c.denominator >= c.numerator * b**n_samples:
            return k
    return None


@pytest.mark.parametrize(("n_samples", "ratio", "expected"), REFERENCE)
def test_reference_values_and_exact_rationals(n_samples: int, ratio: float, expected: int | None) -> None:
    q_bar = shifted_quantile(0.5, ratio, 1)
    assert order_statistic_index(n_samples, q_bar, 0.99) == expected
    if n_samples <= 100:
        assert exact_index(n_samples, q_bar, 0.99) == expected


@pytest.mark.slow
def test_exact_rationals_at_a_thousand_draws() -> None:
    """The two largest cases of the reference; the float quantile is rounded to keep the fractions short."""
    for ratio, expected in ((2, 988), (2.6, 1000), (2.61, None)):
        q_bar = round(shifted_quantile(0.5, ratio, 1), 12)
        assert exact_index(1000, q_bar, 0.99) == expected


@given(st.integers(1, 60), st.integers(1, 999), st.integers(1, 999))
def test_index_is_exact(n_samples: int, q: int, confidence: int) -> None:
    q_, confidence_ = q / 1009, confidence / 1013
    assert order_statistic_index(n_samples, q_, confidence_) == exact_index(n_samples, q_, confidence_)


@given(st.integers(1, 500), st.floats(0.01, 0.98), st.floats(0.5, 0.999))
def test_index_grows_with_quantile_and_confidence(n_samples: int, q: float, confidence: float) -> None:
    k = order_statistic_index(n_samples, q, confidence) or n_samples + 1
    assert k <= (order_statistic_index(n_samples, q + 0.01, confidence) or n_samples + 1)
    assert k <= (order_statistic_index(n_samples, q, confidence + 0.0009) or n_samples + 1)
    # As a bound of the q-quantile it lies above where that quantile is expected.
    assert k >= math.floor(n_samples * q)


@pytest.mark.parametrize(("n_samples", "ratio"), [(50, 1.353), (100, 1.695), (500, 2.359), (1000, 2.605)])
def test_largest_ratio(n_samples: int, ratio: float) -> None:
    largest = max_certifiable_ratio(n_samples, 0.99)
    assert largest == pytest.approx(ratio, abs=6e-4)
    assert order_statistic_index(n_samples, shifted_quantile(0.5, largest - 1e-6, 1), 0.99) == n_samples
    assert order_statistic_index(n_samples, shifted_quantile(0.5, largest + 1e-6, 1), 0.99) is None


def test_too_few_draws_for_even_the_median() -> None:
    assert max_certifiable_ratio(6, 0.99) < 0 < max_certifiable_ratio(7, 0.99)
    assert order_statistic_index(6, 0.5, 0.99) is None
    assert order_statistic_index(7, 0.5, 0.99) == 7


@given(st.floats(0, 4), st.floats(0.05, 0.95))
def test_smallest_number_of_draws(ratio: float, q: float) -> None:
    n = min_samples(ratio, 0.99, q)
    q_bar = shifted_quantile(q, ratio, 1)
    if n < 1e6:
        assert order_statistic_index(int(n), q_bar, 0.99) is not None
        assert n == 1 or order_statistic_index(int(n) - 1, q_bar, 0.99) is None


def test_shift() -> None:
    assert shifted_quantile(0.5, 0, 0.1) == pytest.approx(0.5)
    assert shifted_quantile(0.3, 0.2, 0.1) == pytest.approx(0.92997, abs=1e-5)  # Phi(-0.52440 + 2)
    assert shifted_quantile(0.5, 0, 0) == pytest.approx(0.5)
    assert shifted_quantile(0.5, 1, 0) == 1


def test_reason_names_what_would_do() -> None:
    reason = why_none(2.0, 50, 0.99)
    assert "2 is above 1.353" in reason
    assert "n_samples >= 201" in reason
    assert order_statistic_index(201, shifted_quantile(0.5, 2, 1), 0.99) == 201
    assert "1.478 times as large" in reason
    assert order_statistic_index(50, shifted_quantile(0.5, 2 / 1.4785, 1), 0.99) == 50
    assert why_none(1.0, 50, 0.99) == ""
    assert "needs sigma > 0" in why_none(math.inf, 50, 0.99)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 0.5, 0.99), "n_samples=0"), ((5, 0, 0.99), "q=0"), ((5, 1.1, 0.99), "q=1.1"), ((5, 0.5, 1), "confidence=1")],
)
def test_bad_arguments(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        order_statistic_index(*arguments)


def test_bad_shift() -> None:
    for arguments, message in (((1, 0, 1), "q=1"), ((0.5, -1, 1), "eps=-1"), ((0.5, 1, -1), "sigma=-1")):
        with pytest.raises(ValueError, match=message):
            shifted_quantile(*arguments)
