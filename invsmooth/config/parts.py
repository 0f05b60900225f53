"""Parts: the classes that a config names with ``_target_``, and their free parameters.

A config node of a part has reserved keys, which the program reads, ``_target_``, and free parameters, which the class gets.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from invsmooth.core.errors import ConfigError

CONF = Path(__file__).parents[1] / "conf"
MISSING = "???"
"""What OmegaConf writes for a key without a value."""


def load_class(target: Any, group: str) -> Callable[..., Any]:
    """The class at a dotted path.

    Args:
        group: of the config, for messages: ``"attack"``, ``"data.test"``.
    Raises: ConfigError: there is no path, it cannot be imported, or leads to something else.
    """
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
    try:
        return inspect.signature(kind).parameters
    except ValueError:  # some classes of C code have none
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def parameter_names(kind: Callable[..., Any], provided: Collection[str] = ()) -> list[str]:
    """The parameters that a config can give to a class.

    Args:
        provided: parameters that the program gives.
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in signature(kind).items() if p.kind in named and name not in provided]


def takes_any(kind: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in signature(kind).values())


def parameter_errors(
    kind: Callable[..., Any], given: Mapping[str, Any], group: str, provided: Collection[str] = ()
) -> Iterator[str]:
    """One message for each given parameter that the class does not take or whose value its type hint does not allow, and
    for each that it needs and does not get."""
    names, hints = parameter_names(kind, provided), hints_of(kind)
    for key, value in given.items():
        if key in names:
            yield from value_errors(f"{group}.{key}", value, hints.get(key, Any))
        elif key in provided or not takes_any(kind):
            yield (
                f"{group}.{key} is no parameter of {class_path(kind)}; it takes {', '.join(names) or 'none'}"
                f"{did_you_mean(key, names, group)} (for a class of your own start from {group.replace('.', '/')}=custom)"
            )
    for name in names:
        if name not in given and signature(kind)[name].default is inspect.Parameter.empty:
            yield no_value(f"{group}.{name}", hints.get(name, Any))


def value_errors(key: str, value: Any, hint: Any) -> Iterator[str]:
    """A message if the type hint of ``key`` does not allow the value."""
    if value == MISSING:
        yield no_value(key, hint)
        return
    try:
        converted(value, hint)
    except ValidationError:
        shown = str(value).lower() if isinstance(value, bool) else "null" if value is None else value
        yield f"{key}={shown} is not allowed; allowed: {words(hint)}"


def no_value(key: str, hint: Any) -> str:
    return f"{key} has no value" + (f"; allowed: {words(hint)}" if words(hint) else "")


def did_you_mean(key: str, known: Collection[str], group: str = "") -> str:
    """``"; did you mean KEY?"`` if a known key is spelled alike."""
    near = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {group}{'.' if group else ''}{near[0]}?" if near else ""


def class_path(kind: Callable[..., Any]) -> str:
    return f"{kind.__module__}.{getattr(kind, '__qualname__', type(kind).__qualname__)}"


def hints_of(kind: Callable[..., Any]) -> dict[str, Any]:
    """The type hints of a class's parameters; none where they cannot be resolved."""
    called: Any = kind.__init__ if isinstance(kind, type) else kind  # type: ignore[misc]
    try:
        return get_type_hints(called, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def converted(value: Any, hint: Any) -> Any:
    """A plain value as its type hint wants it: a list as a tuple, a text as an enum or path.

    Raises: pydantic.ValidationError: the hint does not allow it.
    """
    adapter = None if has_target(value) else type_adapter(hint)
    # The rules of JSON: strict about kinds of value, yet a list can be a tuple, and a text an enum.
    return value if adapter is None else adapter.validate_json(json.dumps(value, default=str), strict=True)


def has_target(value: Any) -> bool:
    """Whether a value describes an object that is yet to be built."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(has_target, value.values()))
    return isinstance(value, list) and any(map(has_target, value))


def type_adapter(hint: Any) -> TypeAdapter[Any] | None:
    """None for a hint that pydantic cannot check."""
    try:
        return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False))
    except PydanticUserError:
        return None


NOUNS = {bool: "true, false", int: "a whole number", float: "a number", str: "a text", NoneType: "null", Any: ""}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def words(hint: Any) -> str:
    """What a type hint allows. A ``Field(description=…)`` in it says it in its own words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        fields = [a for a in args[1:] if isinstance(a, FieldInfo)]
        limits = [f" {sign} {getattr(m, name):g}" for f in fields for m in f.metadata
                  for name, sign in SIGNS.items() if hasattr(m, name)]  # fmt: skip
        return next((f.description for f in fields if f.description), words(args[0]) + " and".join(limits))
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin in (Union, UnionType):
        others = [words(a) for a in args if a is not NoneType]
        return " or ".join(others) + (", or null" if NoneType in args else "")
    if inspect.isclass(origin or hint) and issubclass(origin or hint, list | tuple):
        return f"a list of {words(args[0])}" if args else "a list"
    return NOUNS.get(hint, getattr(hint, "__name__", str(hint)))


def build(group: str, node: DictConfig, reserved: Collection[str], **provided: Any) -> Any:
    """The object that a config node describes.

    Args:
        provided: values of the program's own. Each is passed if the class has a parameter of that name.
    Raises: ConfigError: the class cannot be imported, or refuses its parameters.
    """
    kind, given = (
        load_class(plain_value(node, "_target_") if "_target_" in node else "", group),
        free_parameters(node, reserved),
    )
    if errors := [*parameter_errors(kind, given, group, provided)]:
        raise ConfigError("\n".join(errors))
    hints = hints_of(kind)
    values = {k: converted(v, hints.get(k, Any)) for k, v in given.items()}
    values |= {k: v for k, v in provided.items() if k in signature(kind)}
    try:
        return kind(**values)
    except (
        TypeError,
        ValueError,
        OSError,
        RuntimeError,
        MemoryError,
    ) as error:  # the last two: a size that is too large
        raise ConfigError(f"{group}: {error}") from error


@functools.cache
def packaged(group: str) -> dict[str, str]:
    """Option -> ``_target_`` of the yaml files in our ``conf/GROUP``. An option can take it over from its defaults."""
    found = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        if (target := target_of(path)) is not None:
            found[path.stem] = target
    return found


def target_of(path: Path) -> str | None:
    node = OmegaConf.load(path)
    assert isinstance(node, DictConfig)
    if (target := node.get("_target_")) is not None or OmegaConf.is_missing(node, "_target_"):
        return target
    parents = [path.with_name(f"{p}.yaml") for p in node.get("defaults", ()) if isinstance(p, str)]
    return next((t for p in parents if p.is_file() and (t := target_of(p)) is not None), None)
