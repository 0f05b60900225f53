"""What Hydra writes of a run: its own copies of config and overrides, which it does not redact."""

from __future__ import annotations

from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from invsmooth.core.files import write_bytes
from invsmooth.core.redact import redact


def redact_hydra_files(config: DictConfig) -> None:
    """Take credentials out of the files that Hydra has written for a job, and for the sweep that it belongs to."""
    hydra = config.hydra
    if hydra.mode == RunMode.MULTIRUN:
        redact_yaml(Path(hydra.sweep.dir) / "multirun.yaml")
    if hydra.get("output_subdir"):
        redact_folder(Path(hydra.runtime.output_dir) / hydra.output_subdir)


def redact_folder(folder: Path) -> None:
    for path in folder.glob("*.yaml"):
        redact_yaml(path)


def redact_yaml(path: Path) -> None:
    """Interpolations stay as they are. A file that has no credentials is not touched."""
    if path.is_file():
        kept = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        redacted = redact(kept)
        if redacted != kept:
            write_bytes(path, OmegaConf.to_yaml(OmegaConf.create(redacted)).encode())
