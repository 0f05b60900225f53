"""MLflow: a local file store for all runs, or a tracking server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from invsmooth.core.errors import ConfigError
from invsmooth.core.redact import redact
from invsmooth.loggers.description import Description
from invsmooth.loggers.evaluation import Evaluation


class MlflowRun(MLFlowLogger):
    """Lightning's logger, with the config as parameters and the run's files as artefacts."""

    def __init__(self, uri: str, experiment: str, log_model: bool, description: Description) -> None:
        tags = {"group": description.group, "job_type": description.job_type, "tags": ", ".join(description.tags)}
        tags |= {"mlflow.note.content": description.note} if description.note else {}
        super().__init__(experiment_name=experiment, run_name=description.name, tracking_uri=uri, tags=tags)
        self.keeps_model, self.description = log_model, description

    def log_hyperparams(self, params: Any) -> None:
        """Nothing: the run has the resolved config from the start."""

    @rank_zero_only
    def log_description(self) -> None:
        # Joins nested keys by "/" and cuts values to the 250 characters that every server takes.
        super().log_hyperparams(self.description.config)
        self.experiment.log_dict(self.run_id, self.description.config, "config.json")

    @rank_zero_only
    def log_evaluation(self, found: Evaluation) -> None:
        self.log_metrics(found.summary)
        client, run = self.experiment, self.run_id
        client.log_artifact(run, str(found.results))
        if found.report is not None:
            client.log_artifacts(run, str(found.report), "report")
        if found.checkpoint is not None and self.keeps_model:
            client.log_artifact(run, str(found.checkpoint), "checkpoints")

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """Lightning ended the run after the training already; this is its final status."""
        self.experiment.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")


def build(
    run_folder: Path, description: Description, *, experiment: str, tracking_uri: str | None, folder: str, log_model: bool
) -> MlflowRun:  # fmt: skip
    """Start the run.

    Raises: ModuleNotFoundError: the package mlflow (or mlflow-skinny) is not installed.
        ConfigError: the store or server refuses.
    """
    # Its usage statistics go over the network and into the home folder.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Required for a file store. Its default, a database, does not take simultaneous jobs.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    uri = tracking_uri or Path(folder).resolve().as_uri()
    try:
        logger = MlflowRun(uri, redact(experiment), log_model, description)
        logger.log_description()
    except mlflow.exceptions.MlflowException as error:
        raise ConfigError(f"MLflow did not start the run at {uri}: {error}") from error
    return logger
