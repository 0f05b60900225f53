"""The run whose rows a folder has: another one would overwrite them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from invsmooth.core.errors import FolderTaken
from invsmooth.core.redact import redact

ROWS = ("results.parquet", "audit.parquet")
NEUTRAL = ("cache", "logger", "report", "resume", "sweep", "trust", "data.mirror", "data.num_workers",
           "trainer.num_threads", "trainer.progress_bar")  # fmt: skip
"""Keys that do not change what the rows say (threads: but for rounding)."""
SHOWN, LONGEST = 3, 200  # differences that the message names, and letters of each value


def check_earlier_run(config: Mapping[str, Any], folder: Path, command: str) -> None:
    """``config``: the plain values of the run that ``command`` (train, evaluate, audit) begins. The same run may be
    repeated in its folder.
    Raises: FolderTaken: the folder has the rows of another run."""
    rows = next((name for name in ROWS if (folder / name).is_file()), None)
    if rows is None:
        return
    do = "give another folder (hydra.run.dir=, of a sweep hydra.sweep.dir=), or move or remove this one"
    try:
        before = text_of((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise FolderTaken(
            f"{folder} has {rows}, but no config.yaml that says of which run; this run would overwrite it: {do}"
        ) from error
    now = text_of(OmegaConf.to_yaml(OmegaConf.create(redact(dict(config)))))
    told = [
        f"{key}: {before.get(key, 'not set')[:LONGEST]} there, {now.get(key, 'not set')[:LONGEST]} here"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not is_neutral(key)
    ]
    if (own := command_of(folder)) not in (None, command):
        told.insert(0, f"{own} there, {command} here")
    if told:
        more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        raise FolderTaken(
            f"{folder} has the rows of another run, which this one would overwrite: {do}. Differences: "
            f"{'; '.join(told[:SHOWN])}{more}"
        )


def is_neutral(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in NEUTRAL)


def text_of(yaml: str) -> dict[str, str]:
    """The values of a config by their dotted keys."""
    content = OmegaConf.to_container(OmegaConf.create(yaml), resolve=False)
    if not isinstance(content, dict):
        raise ValueError("no mapping")
    return dict(leaves(content, ""))


def leaves(node: Mapping[Any, Any], above: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", "null" if value is None else str(value)


def command_of(folder: Path) -> str | None:
    """None: run.json does not say it."""
    try:
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))["module"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
