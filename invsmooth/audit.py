"""``python -m invsmooth.audit``: a lower bound of an estimator's Lipschitz constant, next to the declared one."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth.config import checkpoint_defaults, cli, schema
from invsmooth.core.devices import in_sweep
from invsmooth.core.errors import CertificateViolation
from invsmooth.sweeps import report_at_end as sweep

schema.register()


def task(cfg: DictConfig) -> None:
    from invsmooth.pipeline.audit import audit

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        checkpoint_defaults.raise_refused()
        cli.prepare_process()
        refuted = audit(cfg, folder)
    except cli.USER_ERRORS:
        if not in_sweep() and not (folder / "run.json").is_file():
            remove_empty(folder)
        raise
    if refuted and in_sweep():  # the other jobs go on
        raise CertificateViolation("\n".join(refuted))
    if refuted:
        sys.exit(1)


def remove_empty(folder: Path) -> None:
    """Remove a run folder that has nothing but what Hydra wrote."""
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    (folder / f"{HydraConfig.get().job.name}.log").unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
        folder.parent.rmdir()


# Not as a decorator: a worker process finds the task by its name, and on import registers the schema (above).
app = hydra.main(version_base="1.3", config_path="conf", config_name="audit")(task)


def main() -> None:
    with checkpoint_defaults.installed():
        cli.run(app, after_error=sweep.conclude_broken)


if __name__ == "__main__":
    # What is defined in __main__ is not found by name from another process.
    from invsmooth.audit import main as run_module

    run_module()
