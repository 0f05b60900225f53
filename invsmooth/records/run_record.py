"""The record of a run: config.yaml, and run.json with command, versions, git state and outcome."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from invsmooth.core.files import write_text
from invsmooth.core.redact import redact

PACKAGES = ("invsmooth", "torch", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy", "scipy", "pandas")


@contextmanager
def recorded(config: Mapping[str, Any], folder: Path, module: str) -> Iterator[dict[str, Any]]:
    """Write config.yaml (of plain values) and run.json to ``folder``, without credentials. ``module``:
    that of the command (train, evaluate, audit). At the end run.json gets the outcome of the block
    (finished, failed or interrupted, and why), and what the block added to the record that it got."""
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(redact(dict(config)))))
    started = time.time()
    record: dict[str, Any] = {
        "status": "running", "module": module, "command": shlex.join(redact([sys.executable, *sys.orig_argv[1:]])),
        "folder": str(folder), "seed": config["seed"], "scale": config.get("scale"),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {p: version(p) for p in PACKAGES} | {"python": platform.python_version()},
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()}, "git": git_state(),
    }  # fmt: skip
    path = folder / "run.json"
    write_text(path, json.dumps(redact(record), indent=2))
    try:
        yield record
    except BaseException as error:
        status = "failed" if isinstance(error, Exception) else "interrupted"  # Ctrl-C and SIGTERM are no Exceptions
        record |= {"status": status, "error": f"{type(error).__name__}: {error}"}
        raise
    else:
        record["status"] = "finished"
    finally:
        record["seconds"] = round(time.time() - started, 3)
        write_text(path, json.dumps(redact(record), indent=2))


def note_interruption(folder: Path, name: str) -> None:
    """In run.json, for a process that is ended while it cannot do so itself (:mod:`invsmooth.core.signals`)."""
    path = folder / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    write_text(path, json.dumps(record | {"status": "interrupted", "error": f"Interrupted: {name}"}, indent=2))


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state() -> dict[str, Any] | None:
    """Commit of the source tree of invsmooth and whether it has changes; None for no checkout."""

    def git(*args: str) -> str:
        here, command = Path(__file__).parent, ["git", *args]
        return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An installed package may lie inside some other project's checkout.
        if "invsmooth/records/run_record.py" not in git("ls-files", "--full-name", "run_record.py"):
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
