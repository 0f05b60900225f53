"""Operators that a file describes: a checkpoint, a certificate file. The file is not trusted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invsmooth import operators
from invsmooth.core.trust import covered, refused, resolve_trusted
from invsmooth.operators.base import LinearOperator, as_operator


def our_operator(name: str) -> type[LinearOperator] | None:
    return next((c for c in vars(operators).values() if getattr(c, "name", None) == name), None)


def operator_class(target: object, trust: Sequence[str], source: Path) -> type:
    """The class at a dotted name in the file ``source``: an operator of ours, or any class of a module in ``trust``.
    Raises: CheckpointError: it is neither, or cannot be imported."""
    found, defined = resolve_trusted(target, trust, source, "operator")
    if not (isinstance(found, type) and (issubclass(found, LinearOperator) or covered(defined, trust))):
        raise refused(source, f"names {target} as its operator, which is no class of an operator")
    return found


def check_nested(parameters: object, trust: Sequence[str], source: Path) -> None:
    """Raises: CheckpointError: a parameter of an operator names a class or function (``_target_``) of a module that is not
    in ``trust``. Not even ours are for files: ``load_checkpoint`` is one."""
    if isinstance(parameters, Mapping):
        for key, value in parameters.items():
            if key == "_target_":
                _, defined = resolve_trusted(value, trust, source, "operator")
                if not (covered(str(value), trust) and covered(defined, trust)):
                    raise refused(source, f"names {value} within its operator, which is not taken from files")
            check_nested(value, trust, source)
    elif isinstance(parameters, list | tuple):
        for value in parameters:
            check_nested(value, trust, source)


def rebuilt(kind: type, parameters: Mapping[str, Any], *, ratio: float) -> LinearOperator:
    """An operator of a class, with those of the parameters that it has. Raises what the class raises for them."""
    names = inspect.signature(kind).parameters
    return as_operator(kind(**{k: v for k, v in {**parameters, "ratio": ratio}.items() if k in names}))
