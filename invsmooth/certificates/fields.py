"""Kinds of values in the record of a certificate, and numbers as JSON can hold them. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

NOT_FINITE = ("nan", "inf", "-inf")
TEXT, FLAG, WHOLE, NUMBER, REAL = "a text", "true or false", "a whole number", "a number", "a number or nan or inf"
ANYTHING = "anything"
OR_NULL = " or null"


def real(value: float) -> float | str:
    """A number as JSON can hold it."""
    return float(value) if math.isfinite(value) else str(float(value))


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def number(value: Any) -> bool:
    return whole(value) or (isinstance(value, float) and math.isfinite(value))


KINDS: dict[str, Callable[[Any], bool]] = {
    TEXT: lambda v: isinstance(v, str),
    FLAG: lambda v: isinstance(v, bool),
    WHOLE: whole,
    NUMBER: number,
    REAL: lambda v: number(v) or (isinstance(v, str) and v in NOT_FINITE),
    ANYTHING: lambda v: True,
}

Range = tuple[Callable[[Any], bool], str]
"""What may stand in a field, and that in words."""
AT_LEAST_0: Range = (lambda v: v >= 0, "at least 0")
AT_LEAST_1: Range = (lambda v: v >= 1, "at least 1")
AT_LEAST_2: Range = (lambda v: v >= 2, "at least 2")
BETWEEN: Range = (lambda v: 0 < v < 1, "between 0 and 1")
SHARE: Range = (lambda v: 0 <= v <= 1, "in [0, 1]")


def just(value: Any) -> Range:
    """Nothing but this value."""
    return lambda v: v == value, "null" if value is None else str(value)
