"""What a part of a run hashes to: its class and parameters, and its code if it is not ours."""

from __future__ import annotations

import inspect
from typing import Any

from invsmooth.cache.code import code_of
from invsmooth.core.errors import ConfigError


def class_path(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def is_ours(kind: Any) -> bool:
    return kind.__module__.split(".")[0] == "invsmooth"


def parameters(part: Any) -> dict[str, Any]:
    """The arguments that a part was made with. Raises: ConfigError: ``__init__`` does not store each under its name."""
    any_number = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [p.name for p in inspect.signature(type(part)).parameters.values() if p.kind not in any_number]
    for name in names:
        if not hasattr(part, name):
            raise ConfigError(
                f"{class_path(type(part))} does not store its parameter {name}; add self.{name} = {name} to __init__, so "
                "that results of other values are not mistaken for its own"
            )
    return {name: getattr(part, name) for name in names}


def identity(part: Any) -> dict[str, Any]:
    """What determines a part, for :func:`invsmooth.cache.content_key`: ``class`` (a dotted path), ``parameters``, and, if it
    is not ours, ``code`` (hashes of the source of its module and of what that imports)."""
    found = {"class": class_path(type(part)), "parameters": parameters(part)}
    # Our own code is in every key (package_key).
    return found if is_ours(type(part)) else found | {"code": code_of([type(part).__module__])}
