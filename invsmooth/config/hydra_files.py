"""Redact the copies of config and overrides that Hydra writes for a run."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from invsmooth.core.files import write_bytes
from invsmooth.core.redact import redact


def redact_hydra_files(config: DictConfig, sweep: Path | None = None) -> None:
    """Those of a run, and of the ``sweep`` that it is a job of."""
    hydra = config.hydra
    if sweep is not None:
        redact_yaml(sweep / "multirun.yaml")
    if hydra.get("output_subdir"):
        redact_folder(Path(hydra.runtime.output_dir) / hydra.output_subdir)


def redact_folder(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        redact_yaml(path)


def redact_yaml(path: Path) -> None:
    """Interpolations are kept. A file without credentials is not written again."""
    if path.is_file():
        kept = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        if (redacted := redact(kept)) != kept:
            write_bytes(path, OmegaConf.to_yaml(OmegaConf.create(redacted)).encode())
