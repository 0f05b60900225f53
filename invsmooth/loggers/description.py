"""What a run is called, belongs to and was made with: the same for every logger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from invsmooth.core.redact import redact
from invsmooth.core.units import PAPER_LABEL, Units


@dataclass(frozen=True)
class Description:
    """How a run appears in a logger: without credentials.

    Attributes:
        name: the run's folder, and the one that it lies in.
        group: the sweep's name, for a single run its own; ``logger.group`` where it is set.
        job_type: train or evaluate.
        tags: task, algorithm, data sets, ``units=paper`` where certificates are as published, and ``logger.tags``.
        config: the resolved config, and under ``run`` what run.json knows at the start (versions, git, command, folder).
        note: what has to be said wherever a certified value is shown; "" for sound certificates.
    """

    name: str
    group: str
    job_type: str
    tags: list[str]
    config: dict[str, Any]
    note: str


def describe(cfg: DictConfig, folder: Path, job_type: str) -> Description:
    paper = cfg.certificate.units is Units.paper
    tags = [cfg.task.name, cfg.algo.name, cfg.data.name, cfg.data.test.name]
    tags += ["units=paper"] * paper + list(cfg.logger.get("tags") or [])
    config = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)
    assert isinstance(config, dict)
    name = redact(f"{folder.parent.name}/{folder.name}")
    return Description(
        name=name,
        group=redact(cfg.logger.get("group") or sweep_name() or name),
        job_type=job_type,
        tags=redact(list(dict.fromkeys(tags))),
        config=redact({str(k): v for k, v in config.items()} | {"run": run_record(folder)}),
        note=f"certificates: {PAPER_LABEL}" if paper else "",
    )


def sweep_name() -> str | None:
    """The folder of the Hydra multirun that this run is a job of."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return Path(HydraConfig.get().sweep.dir).name
    return None


def run_record(folder: Path) -> dict[str, Any]:
    """run.json but for how the run ends."""
    path = folder / "run.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {k: v for k, v in record.items() if k != "status"} | {"folder": str(folder.resolve())}
