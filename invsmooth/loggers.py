"""Lightning loggers from the config. Every run writes metrics.csv; ``logger=`` adds one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger
from omegaconf import DictConfig, OmegaConf

from invsmooth.errors import ConfigError


def build_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """Raises: ConfigError: the logger's package is not installed."""
    loggers: list[Logger] = [CSVLogger(folder, name="", version="")]
    if cfg.logger.name == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        # Without a key an online run would ask for one, or wait for a server.
        mode = cfg.logger.mode or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
        config = OmegaConf.to_container(cfg, resolve=True)
        loggers.append(
            WandbLogger(
                name=f"{cfg.task.name}_{cfg.algo.name}_{folder.name}",
                save_dir=folder,
                project=cfg.logger.project,
                offline=mode == "offline",
                tags=[cfg.task.name, cfg.algo.name, cfg.data.name],
                config=config,
            )
        )
    elif cfg.logger.name == "tensorboard":
        from lightning.pytorch.loggers import TensorBoardLogger

        try:
            loggers.append(TensorBoardLogger(folder, name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            raise ConfigError(
                "logger=tensorboard needs the package tensorboard: pip install -e '.[tensorboard]'"
            ) from error
    return loggers


def close_loggers() -> None:
    """End the W&B run: the next job of this process would silently log into it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
