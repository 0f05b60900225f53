"""Check a config before any work: one message that names the key, the value and what is allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from invsmooth.certificates.floor import fewest
from invsmooth.config import parts, scale
from invsmooth.config.certifiers import build_certifiers, certifier_classes
from invsmooth.config.machine import trainer_conflicts
from invsmooth.config.open_node import Open
from invsmooth.config.renamed import renamed
from invsmooth.config.schema import OPEN, Run
from invsmooth.core.errors import ConfigError
from invsmooth.core.parameters import allowed, hints_of
from invsmooth.data.splits import HOLDOUT


def validate(cfg: DictConfig) -> None:
    """Check the whole config of a run. Raises: ConfigError: with every mistake that was found."""
    validate_nodes(cfg, Run)
    # They check their parameters together, and are cheap to make.
    parts.build("attack", cfg.attack, OPEN["attack"].keys)
    for certifier in build_certifiers(cfg.certify):
        if cfg.certify.files and not certifier.has_file:
            raise ConfigError(f"certify.files=true: {certifier.name} has no record; set certify.files=false")


def validate_nodes(cfg: DictConfig, schema: type) -> None:
    """Check every key. Raises: ConfigError: with every mistake that was found."""
    errors = [*node_errors(cfg, schema)]
    if not all(isinstance(cfg.get(key), DictConfig) for key in ("operator", "data", "trainer", "algo")):
        raise ConfigError("\n".join(errors))
    found = [
        *errors,
        *operator_conflicts(cfg.operator),
        *data_conflicts(cfg.data),
        *calibration_conflicts(cfg),
        *trainer_conflicts(cfg),
        *scale.conflicts(cfg),
    ]
    if errors := list(dict.fromkeys(found)):
        raise ConfigError("\n".join(errors))


def node_errors(node: DictConfig, schema: type, prefix: str = "") -> Iterator[str]:
    """Unknown keys, and values that the type hints of a schema do not allow."""
    fields = [f.name for f in dataclasses.fields(schema)]
    for key in map(str, node):
        if key not in fields:
            hint = parts.did_you_mean(key, fields, prefix) or f"; known are {', '.join(fields)}"
            yield renamed(prefix + key) or f"{prefix}{key} is no key of the config{hint}"
    yield from reserved_errors(node, schema, prefix)


def reserved_errors(node: DictConfig, schema: type, prefix: str) -> Iterator[str]:
    for key, hint in get_type_hints(schema, include_extras=True).items():
        name, value = f"{prefix}{key}", node._get_node(key)
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        if group := next((mark for mark in marks if isinstance(mark, Open)), None):
            if not isinstance(node[key], DictConfig):
                options = ", ".join(parts.options(group.folder))
                yield f"{name}={parts.shown(node[key])} is not allowed; choose an option, {group.folder}=OPTION: {options}"
                continue
            yield from part_errors(name, node[key], group)
        elif dataclasses.is_dataclass(hint) and key in node and not isinstance(node[key], DictConfig):
            # an interpolation that gives something else
            yield f"{name}={parts.shown(node[key])} is not allowed: it has keys of its own, {name}.KEY=VALUE"
        elif isinstance(value, DictConfig) and dataclasses.is_dataclass(kind := OmegaConf.get_type(value)):
            yield from node_errors(value, kind, f"{name}.")
        elif key not in node:
            if OmegaConf.is_missing(node, key):  # of which OmegaConf says that it is not in the node
                yield parts.no_value(name, hint)
        elif parts.has_target(given := parts.plain_value(node, key)):  # only parameters of a class are objects
            yield f"{name}={given} is not allowed; allowed: {allowed(hint)}"
        else:
            yield from parts.value_errors(name, given, hint)


def part_errors(name: str, node: DictConfig, group: Open) -> Iterator[str]:
    """Of an open node: reserved keys against their schema, free parameters against the chosen classes."""
    yield from reserved_errors(node, group.reserved, f"{name}.")
    several = "certifiers" in group.keys
    try:
        classes = certifier_classes(node) if several else [parts.load_class(node.get("_target_"), name)]
    except ConfigError as error:
        yield str(error)
        return
    yield from (parts.no_method(name, kind, m) for kind in classes for m in group.methods if parts.lacks(kind, m))
    # A class of ours has its own name, which the rows say. Another name does not choose another class.
    own, options = getattr(classes[0], "name", None), parts.packaged(group.folder)
    if "name" in group.keys and own not in (None, node.get("name")) and node.get("_target_") in options.values():
        choice = f"to choose another, {group.folder}=OPTION: {', '.join(options)}"
        yield f"{name}.name={node.name} is not allowed; allowed: {own}; {choice}"
    given = parts.free_parameters(node, group.keys)
    for kind in classes:
        taken = {k: v for k, v in given.items() if parts.takes(kind, k, group.provided)}
        yield from parts.parameter_errors(kind, parts.without_unset(kind, taken), name, group.provided)
        hints = {k: hint for k, hint in hints_of(kind).items() if k in group.provided and k in group.keys}
        unset = [k for k in hints if parts.plain_value(node, k) is None]
        yield from (error for k in unset for error in parts.value_errors(f"{name}.{k}", None, hints[k]))
    for key, value in given.items():
        if value is not None and not any(parts.takes(kind, key, group.provided) for kind in classes):
            yield renamed(f"{name}.{key}") or unknown_parameter(name, key, value, group, classes, node.get("name"))


def unknown_parameter(name: str, key: str, value: Any, group: Open, classes: Sequence[Any], option: str | None) -> str:
    """To ignore a parameter would be to report what was not computed."""
    known = list(dict.fromkeys(n for kind in classes for n in parts.parameter_names(kind, group.provided)))
    if key in group.node():
        chosen = ", ".join(getattr(kind, "name", option) or parts.class_path(kind) for kind in classes)
        taken = ", ".join(known) or "none"
        return f"{name}.{key}={parts.shown(value)} has no effect with {group.folder}={chosen}, which takes {taken}"
    return parts.no_parameter(name, key, classes[0], known)


def operator_conflicts(operator: DictConfig) -> Iterator[str]:
    try:
        kind = parts.load_class(operator.get("_target_"), "operator")
    except ConfigError:  # said before
        return
    for key in () if parts.takes(kind, "ratio") else ("ratio", "train_ratio"):
        if parts.as_list(operator[key]) != [1]:
            yield f"operator.{key}={operator[key]} is not allowed: {parts.class_path(kind)} takes no ratio, so it is 1"


def data_conflicts(data: DictConfig) -> Iterator[str]:
    """A set says which splits it has images for (``splits``)."""
    sets = parts.packaged("data/test")
    if not isinstance(data.val, str) or not isinstance(data.get("test"), DictConfig):  # said before
        return
    named = sets.get(data.val, data.val if "." in data.val else None)
    if named is None and data.val != HOLDOUT:
        yield f"data.val={data.val} is not allowed; allowed: {', '.join((HOLDOUT, *sets))}, or the dotted path of a class"
    both = [("data._target_", data.get("_target_"), "train"), ("data.test._target_", data.test.get("_target_"), "test")]
    for key, target, split in [*both, *([("data.val", named, "val")] if named else [])]:
        try:
            kind = parts.load_class(target, key.removesuffix("._target_"))
        except ConfigError as error:
            if key == "data.val":  # of the others it is said before
                yield str(error)
            continue
        if split not in getattr(kind, "splits", (split,)):
            yield f"{key}={target} is not allowed: it has no images to {split} on"


def calibration_conflicts(cfg: DictConfig) -> Iterator[str]:
    if "certify" not in cfg:
        return
    n, confidence = cfg.data.get("calibration"), cfg.certify.get("floor_confidence")
    if not (isinstance(n, int) and n > 0 and isinstance(confidence, float) and 0 < confidence < 1):
        return  # none, or said before
    if n < (least := fewest(1 - confidence)):
        yield f"data.calibration={n} is too few for certify.floor_confidence={confidence:g}: give 0, or at least {least}"
