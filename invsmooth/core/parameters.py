"""Type hints that carry rules, and the check of a part's parameters against them."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

Count = Annotated[int, Field(ge=1, description="a whole number >= 1")]
Whole = Annotated[int, Field(ge=0, description="a whole number >= 0")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a finite number > 0")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a finite number >= 0")]
Probability = Annotated[float, Field(gt=0, lt=1, description="a number in (0, 1)")]


@cache
def hints_of(part: type) -> dict[str, Any]:
    """Parameter -> type hint, from the fields of a dataclass or the signature of ``__init__``; {} if they do not resolve."""
    try:
        return get_type_hints(part if dataclasses.is_dataclass(part) else part.__init__, include_extras=True)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def allowed(hint: Any) -> str:
    """The values that a hint allows, in words: the description of its ``Field``, the choices of a ``Literal``, …"""
    if get_origin(hint) is Annotated:
        words = (getattr(rule, "description", None) for rule in hint.__metadata__)
        return next((w for w in words if w), allowed(hint.__origin__))
    if hint is NoneType:
        return "null"
    if get_origin(hint) is Literal:
        return ", ".join("null" if v is None else str(v) for v in get_args(hint))
    parts = get_args(hint)
    if parts and NoneType in parts:
        return ", or ".join(allowed(part) for part in (*(p for p in parts if p is not NoneType), NoneType))
    return getattr(hint, "__name__", str(hint)) if not parts else str(hint)


@cache
def adapter(part: type, name: str) -> TypeAdapter[Any] | None:
    """None: the hint is missing, or pydantic has no rule for it."""
    try:
        return TypeAdapter(hints_of(part)[name])
    except (KeyError, PydanticUserError):
        return None


def broken_rules(part: type, given: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """``(name, value, allowed values)`` of every value that its type hint does not allow."""
    for name, value in given.items():
        rule = adapter(part, name)
        if rule is None:
            continue
        try:
            rule.validate_python(plain(value), strict=True)
        except ValidationError:
            yield name, value, allowed(hints_of(part)[name])


def plain(value: Any) -> Any:
    """A number of numpy as Python's."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def check_parameters(part: type, given: Mapping[str, Any]) -> None:
    """Raises ValueError: a value that its type hint does not allow; the message names it and the allowed ones."""
    errors = [f"{name}={value!r} is not allowed; allowed: {words}" for name, value, words in broken_rules(part, given)]
    if errors:
        raise ValueError("; ".join(errors))


def check_fields(part: Any) -> None:
    """:func:`check_parameters` for the fields of a dataclass: its ``__post_init__``."""
    check_parameters(type(part), {f.name: getattr(part, f.name) for f in dataclasses.fields(part)})
