"""Parts: the classes that a config names with ``_target_``. A node has also reserved keys, which the
program reads, and free parameters, which the class gets."""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from invsmooth.cache.parts import is_ours
from invsmooth.core.errors import ConfigError
from invsmooth.core.own_error import said
from invsmooth.core.parameters import allowed, hints_of

CONF = Path(__file__).parents[1] / "conf"
MISSING = "???"  # what OmegaConf writes for a key without a value


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | ListConfig) else [value]


def load_class(target: Any, group: str) -> Callable[..., Any]:
    """The class at a dotted path. ``group`` of the config, for messages: ``"data.test"``.
    Raises: ConfigError: there is no path, it cannot be imported, or leads to something else."""
    if not target or target == MISSING:
        raise ConfigError(f"{group}._target_ has no value; give the dotted path of a class")
    try:
        found = resolve_name(str(target))
    except Exception as error:  # whatever the user's module raises
        raise ConfigError(f"{group}._target_={target} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"{group}._target_={target} is a {type(found).__name__}; give the dotted path of a class")
    return found


def free_parameters(node: DictConfig, reserved: Collection[str]) -> dict[str, Any]:
    """The parameters for the class, as plain values; ``"???"`` for those without a value."""
    return {k: plain_value(node, k) for k in map(str, node) if k not in reserved and k != "_target_"}


def plain_value(node: DictConfig, key: str) -> Any:
    """A resolved value without OmegaConf's containers; ``"???"`` if there is none."""
    try:
        value = MISSING if OmegaConf.is_missing(node, key) else node[key]
    except InterpolationToMissingValueError:
        return MISSING
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def signature(kind: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    nn = sys.modules.get("torch.nn")  # not imported for --help
    if nn is not None and getattr(kind, "__init__", None) is nn.Module.__init__:  # which torch.compile replaces
        return {}  # a module without parameters; torch's own __init__ does not say so
    try:
        return inspect.signature(kind).parameters
    except ValueError:  # some classes of C code have none
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def parameter_names(kind: Callable[..., Any], provided: Collection[str] = ()) -> list[str]:
    """The parameters that a config can give to a class; the program gives those in ``provided``."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in signature(kind).items() if p.kind in named and name not in provided]


def takes(kind: Callable[..., Any], key: str, provided: Collection[str] = ()) -> bool:
    any_name = any(p.kind is p.VAR_KEYWORD for p in signature(kind).values())
    return key in parameter_names(kind, provided) or (any_name and key not in provided)


def lacks(kind: Callable[..., Any], method: str) -> bool:
    """Whether a class does not define a method, or only has the one of its base that raises an error."""
    found = getattr(kind, method, None)
    return isinstance(kind, type) and (found is None or getattr(found, "__isabstractmethod__", False))


def no_method(group: str, kind: Callable[..., Any], method: str) -> str:
    return f"{group}._target_={class_path(kind)} has no method {method}; docs/extending.md shows what a class needs"


def parameter_errors(
    kind: Callable[..., Any], given: Mapping[str, Any], group: str, provided: Collection[str] = ()
) -> Iterator[str]:
    """A message for each parameter that the class does not take, whose value its type hint does not
    allow, or that it needs and does not get."""
    names, hints = parameter_names(kind, provided), hints_of(kind)
    for key, value in given.items():
        if not takes(kind, key, provided):
            yield no_parameter(group, key, kind, names)
        else:
            yield from value_errors(f"{group}.{key}", value, hints.get(key, Any))
    needed = [n for n in names if signature(kind)[n].default is inspect.Parameter.empty]
    yield from (no_value(f"{group}.{name}", hints.get(name, Any)) for name in needed if name not in given)


def no_parameter(group: str, key: str, kind: Callable[..., Any], known: Collection[str]) -> str:
    return (
        f"{group}.{key} is no parameter of {class_path(kind)}; it takes {', '.join(known) or 'none'}"
        f"{did_you_mean(key, known, group + '.')} (for a class of your own start from {group.replace('.', '/')}=custom)"
    )


def value_errors(key: str, value: Any, hint: Any) -> Iterator[str]:
    """A message if the type hint of ``key`` does not allow the value."""
    try:
        if value != MISSING:
            converted(value, hint)
            return
    except ValidationError as error:
        if value is not None:
            said = [str(e["ctx"]["error"]) for e in error.errors() if e["type"] == "value_error"]
            yield f"{key}={shown(value)}" + (f": {said[0]}" if said else f" is not allowed; allowed: {allowed(hint)}")
            return
    yield no_value(key, hint)


def shown(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def no_value(key: str, hint: Any) -> str:
    return f"{key} has no value" + (f"; allowed: {allowed(hint)}" if hint is not Any else "")


def did_you_mean(key: str, known: Collection[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def class_path(kind: Callable[..., Any]) -> str:
    return f"{kind.__module__}.{getattr(kind, '__qualname__', type(kind).__qualname__)}"


def converted(value: Any, hint: Any) -> Any:
    """A plain value as its type hint wants it: a list as a tuple, a text as an enum or path.
    Raises: pydantic.ValidationError: the hint does not allow it."""
    if has_target(value):
        return value
    try:
        adapter = adapter_of(hint)
    except PydanticUserError:  # a hint that pydantic cannot check
        return value
    except TypeError:  # a hint that has no hash
        adapter = adapter_of.__wrapped__(hint)
    # The rules of JSON: strict about kinds of value, yet a list can be a tuple, and a text an enum.
    return adapter.validate_json(json.dumps(value, default=str), strict=True)


@functools.cache
def adapter_of(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))


def has_target(value: Any) -> bool:
    """Whether a value describes an object that is yet to be built."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(has_target, value.values()))
    return isinstance(value, list) and any(map(has_target, value))


def without_unset(kind: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters without those that are null where null means the class's own default: the
    class has no such parameter, or it has a default and its type hint does not allow None."""
    hints, known = hints_of(kind), signature(kind)
    return {k: v for k, v in given.items() if v is not None or (k in known and (
        known[k].default is inspect.Parameter.empty or not any(value_errors(k, None, hints.get(k, Any)))))}  # fmt: skip


def build(group: str, node: DictConfig, reserved: Collection[str], **provided: Any) -> Any:
    """The object that a config node describes. It gets those ``provided`` values that it has parameters for.
    Raises: ConfigError: the class cannot be imported, or refuses its parameters."""
    kind = load_class(node.get("_target_"), group)
    return construct(kind, free_parameters(node, reserved), group, provided)


def construct(
    kind: Callable[..., Any], given: Mapping[str, Any], group: str, provided: Mapping[str, Any] | None = None
) -> Any:
    provided, given, hints = provided or {}, without_unset(kind, given), hints_of(kind)
    if errors := [*parameter_errors(kind, given, group, provided)]:
        raise ConfigError("\n".join(errors))
    values = {k: converted(v, hints.get(k, Any)) for k, v in given.items()}
    values |= {k: v for k, v in provided.items() if k in signature(kind)}
    try:
        made = kind(**values)
    except (TypeError, ValueError, OSError, RuntimeError, MemoryError) as error:
        # The last two: a size that is too large.
        raise ConfigError(f"{group}: {error}") from error
    except Exception as error:
        if is_ours(kind):
            raise
        raise ConfigError(f"{group}: {class_path(kind)} cannot be made: {said(error, kind)}") from error
    if (nn := sys.modules.get("torch.nn")) and isinstance(made, nn.Module) and "_buffers" not in vars(made):
        raise ConfigError(f"{group}: {class_path(kind)}.__init__ does not call super().__init__(), as its first line")
    return made


@functools.cache
def packaged(group: str) -> dict[str, str]:
    """Option -> ``_target_``, of the files in our ``conf/GROUP`` that name a class."""
    return {option: node._target_ for option, node in options(group).items() if node.get("_target_")}


@functools.cache
def options(group: str) -> dict[str, DictConfig]:
    """Option -> what its file in our ``conf/GROUP`` says."""
    return {path.stem: DictConfig(OmegaConf.load(path)) for path in sorted((CONF / group).glob("*.yaml"))}
