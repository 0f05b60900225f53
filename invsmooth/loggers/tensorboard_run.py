"""TensorBoard: event files in the run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from invsmooth.loggers.description import Description
from invsmooth.loggers.evaluation import Evaluation


class TensorBoardRun(TensorBoardLogger):
    """Lightning's logger, with the config as text, and results as scalars and pictures."""

    def __init__(self, folder: Path, description: Description) -> None:
        super().__init__(folder, name="tensorboard", version="", default_hp_metric=False)
        self.description = description

    def log_hyperparams(self, params: Any, metrics: Any = None, step: int | None = None) -> None:
        """Nothing: the run has the resolved config from the start."""

    @rank_zero_only
    def log_description(self) -> None:
        text = {k: v for k, v in vars(self.description).items() if k != "config" and v}
        for name, value in (("run", text), ("config", self.description.config)):
            self.experiment.add_text(name, f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```")

    @rank_zero_only
    def log_evaluation(self, found: Evaluation) -> None:
        self.log_metrics(found.summary, step=0)
        for name, gallery in found.galleries.items():
            for number, picture in enumerate(gallery):
                tag = f"pictures/{name}/{number:02d}_{picture.kind}"
                kind = "HW" if picture.pixels.ndim == 2 else "HWC"
                self.experiment.add_image(tag, picture.pixels, dataformats=kind)
            captions = "\n".join(f"- {number:02d}: {picture.caption}" for number, picture in enumerate(gallery))
            self.experiment.add_text(f"pictures/{name}", captions)
        for name, path in found.figures.items():
            self.experiment.add_image(f"report/{name}", np.asarray(Image.open(path).convert("RGB")), dataformats="HWC")
        self.experiment.flush()

    @rank_zero_only
    def close(self, failed: bool) -> None:
        self.experiment.close()


def build(folder: Path, description: Description) -> TensorBoardRun:
    """Raises: ModuleNotFoundError: the package tensorboard is not installed."""
    logger = TensorBoardRun(folder, description)
    logger.log_description()
    return logger
