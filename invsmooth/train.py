"""``python -m invsmooth.train``: train a reconstruction network, then attack, certify and report."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from invsmooth import cli, schema

schema.register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def app(cfg: DictConfig) -> None:
    from invsmooth.pipeline import train_and_evaluate

    train_and_evaluate(cfg, Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    cli.run(app)


if __name__ == "__main__":
    main()
