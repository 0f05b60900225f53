"""``metrics.csv``, the training curve: Lightning's logger, but the file is never half-written."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from invsmooth.core.files import replaced, write_bytes


class WholeFile(ExperimentWriter):
    """Keeps all lines, and replaces the file whenever it is saved. (Lightning's appends to it, or writes it anew in its
    place where a column is new: a process that is killed meanwhile leaves a part.)"""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.lines: list[dict[str, Any]] = []
        self.text = io.StringIO(newline="")

    def save(self) -> None:
        if not self.metrics:
            return
        self.lines += self.metrics
        new = self.metrics
        if self._record_new_keys():
            self.text, new = io.StringIO(newline=""), self.lines
        writer = csv.DictWriter(self.text, self.metrics_keys)
        if new is self.lines:
            writer.writeheader()
        writer.writerows(new)
        self.metrics = []
        write_bytes(Path(self.metrics_file_path), self.text.getvalue().encode())

    def log_hparams(self, params: dict[str, Any]) -> None:
        self.hparams.update(params)
        with replaced(Path(self.log_dir) / self.NAME_HPARAMS_FILE) as temporary:
            save_hparams_to_yaml(str(temporary), self.hparams)


class Curve(CSVLogger):
    """A training's curve in ``folder``."""

    def __init__(self, folder: Path, flush_every: int = 100) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=flush_every)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = WholeFile(self.log_dir)
        return self._experiment
