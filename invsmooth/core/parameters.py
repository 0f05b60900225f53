"""Type hints that carry rules, and the check of a part's parameters against them."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

LARGEST_RATIO = 10.0
"""m/n that an operator may have; above it, 50 for 50 % say, it is a mistake."""

MOST = 10**9
"""Of anything that is counted: more cannot be computed or kept, and sizes of that many have no overflow in 64 bits."""
LARGEST = 1e15
"""Of a number: its square is finite in float32."""

Count = Annotated[int, Field(ge=1, le=MOST, description="a whole number >= 1 and <= 10^9")]
Whole = Annotated[int, Field(ge=0, le=MOST, description="a whole number >= 0 and <= 10^9")]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False, description="a finite number > 0, <= 1e15")]
NotNegative = Annotated[
    float, Field(ge=0, le=LARGEST, allow_inf_nan=False, description="a finite number >= 0, <= 1e15")
]
Probability = Annotated[float, Field(gt=0, lt=1, description="a number in (0, 1)")]


@cache
def hints_of(part: Callable[..., Any]) -> dict[str, Any]:
    """Parameter -> type hint, of a class or function; {} if they do not resolve."""
    called: Any = part if dataclasses.is_dataclass(part) or not isinstance(part, type) else part.__init__  # type: ignore[misc]
    try:
        return get_type_hints(called, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


NOUNS = {bool: "true, false", int: "a whole number", float: "a number", str: "a text", NoneType: "null"}


def allowed(hint: Any) -> str:
    """The values that a hint allows, in words: the description of its ``Field``, the choices of a ``Literal``, …"""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        words = (getattr(rule, "description", None) for rule in hint.__metadata__)
        return next((w for w in words if w), allowed(hint.__origin__))
    if origin is Literal:
        return ", ".join("null" if v is None else str(v) for v in args)
    if origin in (Union, UnionType):
        others = " or ".join(allowed(a) for a in args if a is not NoneType)
        return f"{others}, or null" if NoneType in args else others
    if isinstance(origin, type) and issubclass(origin, list | tuple):
        return f"a list, each {allowed(args[0])}"
    return NOUNS.get(hint, "") or getattr(hint, "__name__", str(hint))


@cache
def adapter(part: type, name: str) -> TypeAdapter[Any]:
    """Any: the hint is missing, or pydantic has no rule for it."""
    try:
        return TypeAdapter(hints_of(part)[name])
    except (KeyError, PydanticUserError):
        return TypeAdapter(Any)


def check_parameters(part: type, given: Mapping[str, Any]) -> None:
    """Raises ValueError: a value that its type hint does not allow; the message names it and the allowed ones."""
    errors = []
    for name, value in given.items():
        plain = value
        if isinstance(value, numbers.Real) and not isinstance(value, bool):  # a number of numpy as Python's
            plain = int(value) if isinstance(value, numbers.Integral) else float(value)
        try:
            adapter(part, name).validate_python(plain, strict=True)
        except ValidationError:
            errors.append(f"{name}={value!r} is not allowed; allowed: {allowed(hints_of(part)[name])}")
    if errors:
        raise ValueError("; ".join(errors))


def check_fields(part: Any) -> None:
    """:func:`check_parameters` for the fields of a dataclass: its ``__post_init__``."""
    check_parameters(type(part), {f.name: getattr(part, f.name) for f in dataclasses.fields(part)})
