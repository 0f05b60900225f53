"""Name, group, tags and config of a run: the same for every logger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from invsmooth.core.devices import in_sweep
from invsmooth.core.redact import redact
from invsmooth.core.units import PAPER_LABEL, Units

COMMON = ("name", "group", "tags")  # keys of every logger: they go into the description


@dataclass(frozen=True)
class Description:
    """How a run appears in a logger, without credentials.

    Attributes:
        group: ``logger.group``; by default the sweep's folder, or the name of a single run.
        job_type: train or evaluate.
        config: the resolved config, and run.json at the start of the run under ``run``.
        note: goes with every certified value; "" for sound certificates."""

    name: str
    group: str
    job_type: str
    tags: list[str]
    config: dict[str, Any]
    note: str


def describe(config: Mapping[str, Any], folder: Path, job_type: str) -> Description:
    """``config``: the resolved config of the run, as plain values."""
    paper = config["certificate"]["units"] == Units.paper
    parts = [config["task"], config["algo"], config["data"], config["data"]["test"]]
    tags = [*(part["name"] for part in parts), *["units=paper"] * paper, *(config["logger"].get("tags") or [])]
    name = f"{folder.parent.name}/{folder.name}"
    sweep = Path(HydraConfig.get().sweep.dir).name if in_sweep() else None
    path = folder / "run.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    record.pop("status", None)
    return Description(
        name=redact(name), group=redact(config["logger"].get("group") or sweep or name),
        job_type=job_type, tags=redact(list(dict.fromkeys(tags))),
        config=redact({**config, "run": record | {"folder": str(folder.resolve())}}),
        note=f"certificates: {PAPER_LABEL}" if paper else "",
    )  # fmt: skip
