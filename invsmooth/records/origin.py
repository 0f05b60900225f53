"""The record of a training in its checkpoint: task, algorithm, operator, network. Nothing in it is
resolved or run: the file may come from anybody. Every value is checked for its type here, and texts
that a config would resolve (``${…}``) are refused."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invsmooth.core.errors import CheckpointError
from invsmooth.core.parameters import LARGEST_RATIO

GROUPS = ("task", "algo")  # The config groups whose options are taken over
A_NAME = "a name of 1 to 100 characters, none of them a slash"
DEEPEST = 8  # Levels of nesting that the parameters of an estimator may have


@dataclass(frozen=True)
class Origin:
    """Where the network in a checkpoint comes from.

    Attributes:
        choices: the options of GROUPS that were chosen; None where that is not known.
        names: ``task.name`` and ``algo.name``, which the rows say; none in older checkpoints.
        operator: its config node: name, class (``_target_``; not in older checkpoints), parameters.
        sha256: ratio that was trained on -> SHA-256 of the operator; empty in older checkpoints.
        estimator: class (``_target_``) and parameters of the network.
        scale: paper or small; None in older checkpoints.
        channels: of the images; 1 in older checkpoints.
        seed: None in older checkpoints."""

    path: str
    choices: Mapping[str, str | None]
    names: Mapping[str, str]
    operator: Mapping[str, Any]
    sha256: Mapping[float, str]
    estimator: Mapping[str, Any]
    scale: str | None = None
    channels: int = 1
    seed: int | None = None


def read_origin(path: str) -> Origin | None:
    """What the file says; None if it is no checkpoint of ours, or there is no such file.
    Raises: CheckpointError: it cannot be read, or has something in it that ``invsmooth.train`` does
    not write."""
    from invsmooth.estimators.checkpoint import is_ours, read  # --help does not wait for torch

    try:
        content = read(Path(path))
    except FileNotFoundError:
        return None
    try:
        return parsed(path, content["hyper_parameters"]) if is_ours(content) else None
    except ValueError as error:
        raise CheckpointError(f"ckpt={path} is no checkpoint of invsmooth.train, or was changed: {error}") from error


def parsed(path: str, saved: object) -> Origin:
    """Raises: ValueError: a value of the wrong type, or one that a config would resolve."""
    saved = mapping(saved, "hyper_parameters")
    operator = mapping(saved.get("operator"), "operator")
    choices, names = mapping(saved.get("choices"), "choices"), mapping(saved.get("names", {}), "names")
    known = {text(k, "operator"): value_of(k, v) for k, v in operator.items() if k != "sha256"}
    text(known.get("name"), "operator.name")
    hashes = mapping(operator.get("sha256", {}), "operator.sha256")
    if (scale := saved.get("scale")) not in (None, "paper", "small"):
        raise wrong(scale, "scale", "paper or small")
    if (channels := saved.get("channels", 1)) not in (1, 3) or type(channels) is not int:
        raise wrong(channels, "channels", "1 or 3")
    if type(seed := saved.get("seed")) not in (int, type(None)):
        raise wrong(seed, "seed", "a whole number")
    return Origin(
        path, choices={g: None if choices.get(g) is None else text(choices[g], f"choices.{g}") for g in GROUPS},
        names={g: name(names[g], f"names.{g}") for g in GROUPS if g in names}, operator=known,
        sha256={a_ratio(k): text(v, "operator.sha256") for k, v in hashes.items()},
        estimator=mapping(plain(saved.get("estimator"), "estimator"), "estimator"), scale=scale,
        channels=channels, seed=seed,
    )  # fmt: skip


def training_record(config: Mapping[str, Any], choices: Mapping[str, str | None],
                    sha256: Mapping[float, str]) -> dict[str, Any]:  # fmt: skip
    """What a training writes into its checkpoints, and :func:`read_origin` reads: from the whole
    config as plain values, its group -> chosen option, and ratio -> SHA-256 of the operator."""
    return {
        "estimator": config["estimator"], "choices": {g: choices.get(g) for g in GROUPS},
        "operator": with_absolute_paths(config["operator"]) | {"sha256": {repr(r): v for r, v in sha256.items()}},
        "names": {g: config[g]["name"] for g in GROUPS}, "seed": config["seed"],
        "scale": config["scale"], "channels": config["data"]["channels"],
    }  # fmt: skip


def with_absolute_paths(node: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a part, whose paths of files are the same wherever the program runs next."""
    files = {k: Path(v) for k, v in node.items() if k != "name" and isinstance(v, str) and Path(v).is_file()}
    return dict(node) | {k: str(file.resolve()) for k, file in files.items()}


def names_file(value: object) -> bool:
    """Whether a recorded parameter is the path of a file, in older checkpoints a relative one."""
    path = Path(value) if isinstance(value, str) else None
    return path is not None and (path.is_absolute() or path.is_file() or path.suffix in (".npy", ".mat"))


def wrong(value: object, what: str, wanted: str) -> ValueError:
    return ValueError(f"its {what} is {reprlib.repr(value)}, not {wanted}")


def mapping(value: object, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise wrong(value, what, "a dictionary")
    return value


def text(value: object, what: str) -> str:
    """A text that a config takes as it is: it resolves ``${…}``, and ``???`` means no value."""
    if type(value) is not str or "${" in value or value == "???" or not value.isprintable():
        raise wrong(value, what, "a plain text")
    return value


def is_name(value: object) -> bool:
    """A text that can be part of a folder's name."""
    return isinstance(value, str) and value.isprintable() and re.fullmatch(r"[^/\\]{1,100}", value) is not None


def name(value: object, what: str) -> str:
    if not is_name(text(value, what)):
        raise wrong(value, what, f"{A_NAME}; give one: {what.removeprefix('names.')}.name=NAME")
    return str(value)


def a_ratio(value: object) -> float:
    """A ratio that is the key of a hash: ``"0.3"``."""
    try:
        found = float(text(value, "operator.sha256"))
    except ValueError:
        found = math.nan
    if not 0 < found <= LARGEST_RATIO:
        raise wrong(value, "operator.sha256", "by ratio")
    return found


def plain(value: object, what: str, depth: int = 0) -> Any:
    """Dictionaries, lists, texts, numbers and None alone."""
    if depth > DEEPEST:
        raise ValueError(f"its {what} is nested too deeply")
    if isinstance(value, Mapping):
        return {k if type(k) is int else text(k, what): plain(v, what, depth + 1) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(v, what, depth + 1) for v in value]
    resolved = isinstance(value, str) and ("${" in value or value == "???")
    if resolved or not (value is None or type(value) in (str, int, float, bool)):
        raise wrong(value, what, "a plain value")
    return value


def value_of(key: str, value: object) -> Any:
    """A value of the operator's node."""
    what = f"operator.{key}"
    found: list[Any] = value if isinstance(value, list) else [value]
    are_ratios = bool(found) and all(type(v) in (int, float) and 0 < v <= LARGEST_RATIO for v in found)
    if key in ("ratio", "train_ratio") and not are_ratios:
        raise wrong(value, what, f"a ratio or a list of ratios in (0, {LARGEST_RATIO:g}]")
    return text(value, what) if isinstance(value, str) else plain(value, what)


def gone(path: str) -> bool:
    """Whether a recorded path leads to no file; a relative one leads to others elsewhere."""
    return not (Path(path).is_absolute() and Path(path).is_file())
