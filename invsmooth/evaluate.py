"""``python -m invsmooth.evaluate ckpt=PATH``: attack and certify a trained network."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth.config import checkpoint_defaults, cli, schema
from invsmooth.config.refused import leaving_nothing
from invsmooth.sweeps import report_at_end as sweep

schema.register()


def task(cfg: DictConfig) -> None:
    from invsmooth.pipeline.run import evaluate_checkpoint

    cli.prepare_process()
    folder = Path(HydraConfig.get().runtime.output_dir)
    with leaving_nothing(folder):
        sweep.raise_refused()
        checkpoint_defaults.raise_refused()
        evaluate_checkpoint(cfg, folder)


# Not as a decorator: a worker process finds the task by its name, and on import registers the schema (above).
app = hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")(task)


def main() -> None:
    with checkpoint_defaults.installed():
        cli.run(app, after_error=sweep.conclude_broken)


if __name__ == "__main__":
    # What is defined in __main__ is not found by name from another process.
    from invsmooth.evaluate import main as run_module

    run_module()
