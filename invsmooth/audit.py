"""``python -m invsmooth.audit``: a lower bound of an estimator's Lipschitz constant, next to the declared one."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth.config import checkpoint_defaults, cli, schema
from invsmooth.config.refused import leaving_nothing
from invsmooth.core.devices import in_sweep
from invsmooth.core.errors import CertificateViolation
from invsmooth.sweeps import report_at_end as sweep

schema.register()


def task(cfg: DictConfig) -> None:
    from invsmooth.pipeline.audit import audit

    cli.prepare_process()
    folder = Path(HydraConfig.get().runtime.output_dir)
    with leaving_nothing(folder):
        sweep.raise_refused()
        checkpoint_defaults.raise_refused()
        refuted = audit(cfg, folder)
    if refuted and in_sweep():  # the other jobs go on
        raise CertificateViolation("\n".join(refuted))
    if refuted:
        sys.exit(1)


# Not as a decorator: a worker process finds the task by its name, and on import registers the schema (above).
app = hydra.main(version_base="1.3", config_path="conf", config_name="audit")(task)


def main() -> None:
    with checkpoint_defaults.installed():
        cli.run(app, after_error=sweep.conclude_broken)


if __name__ == "__main__":
    # What is defined in __main__ is not found by name from another process.
    from invsmooth.audit import main as run_module

    run_module()
