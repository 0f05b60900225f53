"""What a part of a run hashes to: its class and parameters, and its code if it is not ours."""

from __future__ import annotations

import inspect
from typing import Any

from invsmooth.cache.code import code_of
from invsmooth.core.errors import ConfigError


def parameters(part: Any) -> dict[str, Any]:
    """The arguments that a part was made with. Its ``__init__`` stores each under its own name.

    Raises: ConfigError: it does not.
    """
    kind = type(part)
    names = [
        p.name for p in inspect.signature(kind).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    for name in names:
        if not hasattr(part, name):
            raise ConfigError(
                f"{kind.__module__}.{kind.__qualname__} does not store its parameter {name}; add self.{name} = {name} to "
                "__init__, so that results of other values are not mistaken for its own"
            )
    return {name: getattr(part, name) for name in names}


def identity(part: Any) -> dict[str, Any]:
    """What determines a part, for :func:`invsmooth.cache.content_key`: ``class`` (a dotted path), ``parameters``, and, if it
    is not ours, ``code`` (hashes of the source of its module and of what that imports)."""
    kind = type(part)
    found = {"class": f"{kind.__module__}.{kind.__qualname__}", "parameters": parameters(part)}
    outside = kind.__module__.split(".")[0] != "invsmooth"  # our own code is in every key (package_key)
    return found | ({"code": code_of([kind.__module__])} if outside else {})
