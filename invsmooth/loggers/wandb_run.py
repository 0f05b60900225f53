"""Weights & Biases: one run for each job, in the run folder, offline unless there is an API key."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import requests
import wandb
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from invsmooth.core.devices import in_sweep
from invsmooth.core.errors import ConfigError
from invsmooth.core.redact import redact
from invsmooth.loggers.charts import Chart
from invsmooth.loggers.description import Description
from invsmooth.loggers.evaluation import Evaluation

log = logging.getLogger(__name__)

TABLE_LIMIT = 10_000  # rows of the table; W&B shows no more, and the artefact has all
LONGEST_TAG = 64  # characters
SAME = {"dryrun": "offline", "run": "online"}  # old values of the environment variable WANDB_MODE
OFFLINE = "use logger.mode=offline, and `wandb sync` later (docs/logging.md)"


class WandbRun(WandbLogger):
    """Lightning's logger on a run that :func:`build` started."""

    def __init__(self, run: Any, folder: Path, project: str, log_model: bool, environment: Sequence[str]) -> None:
        super().__init__(save_dir=folder, project=project, experiment=run)
        self.keeps_model, self.environment = log_model, list(environment)

    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Nothing: the run has the resolved config, which the module's values would overwrite."""

    @rank_zero_only
    def log_evaluation(self, found: Evaluation) -> None:
        run, note = self.experiment, found.note or None
        run.log({"rows": table(found.rows)})
        charts = {chart.name: line_series(chart) for chart in found.charts}
        pictures = {
            f"pictures/{name}": [wandb.Image(Image.fromarray(p.pixels), caption=p.caption) for p in gallery]
            for name, gallery in found.galleries.items()
        }
        figures = {f"report/{name}": wandb.Image(str(path), caption=note) for name, path in found.figures.items()}
        for logged in filter(None, (charts, pictures, figures)):
            run.log(logged)
        run.summary.update(found.summary)
        for artifact in artifacts(found, run.id, self.keeps_model):
            run.log_artifact(artifact)

    @rank_zero_only
    def close(self, failed: bool) -> None:
        """End the run and W&B's process: the next job of this process starts with neither."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=int(failed))
        stop_service(self.environment)


def build(
    folder: Path, description: Description, *, project: str, entity: str | None, mode: str | None, log_model: bool,
    init_timeout: float, finish_timeout: float,
) -> WandbRun:  # fmt: skip
    """Start the run, in the first process. Raises: ConfigError: online asked for, impossible."""
    if getattr(rank_zero_only, "rank", 0) != 0:
        return WandbRun(None, folder, project, log_model, [])
    environment = set_environment(folder)
    try:
        with redacted_arguments():
            run = wandb.init(
                project=redact(project), entity=redact(entity), dir=folder, mode=choose_mode(mode, init_timeout),
                name=description.name, group=description.group, job_type=description.job_type,
                tags=allowed(description.tags), notes=description.note or None,
                config=description.config, reinit="create_new", id=own_id(),
                settings=wandb.Settings(init_timeout=init_timeout, finish_timeout=finish_timeout),
            )  # fmt: skip
    except BaseException as error:
        stop_service(environment)
        if isinstance(error, wandb.errors.Error):
            why = f"{type(error).__name__}: {error}"  # says little about a key that the server refuses
            raise ConfigError(f"W&B did not start the run: {why}; check the API key, or {OFFLINE}") from error
        raise
    # By batches: Lightning counts optimiser steps, of which a batch may have several.
    run.define_metric("train/batch", hidden=True)
    run.define_metric("trainer/global_step", hidden=True)
    for names in ("train/*", "val/*"):
        run.define_metric(names, step_metric="train/batch")
    return WandbRun(run, folder, project, log_model, environment)


def allowed(tags: Sequence[str]) -> list[str]:
    """As W&B takes them: not empty, not longer than LONGEST_TAG. The config has the whole names."""
    return list(dict.fromkeys(tag if len(tag) <= LONGEST_TAG else f"{tag[: LONGEST_TAG - 1]}…" for tag in tags if tag))


def own_id() -> str | None:
    """The id of the run of a job, where WANDB_RUN_ID would give all jobs of a sweep one run; None: W&B chooses."""
    given = os.environ.get("WANDB_RUN_ID")
    if not given or not in_sweep():
        return None
    own = f"{given}-{HydraConfig.get().job.num}"
    log.info("WANDB_RUN_ID=%s is set: this job of the sweep is the W&B run %s, for each has one of its own", given, own)
    return own


def choose_mode(wanted: str | None, timeout: float) -> Any:
    """``wanted`` (``logger.mode``); if it is null WANDB_MODE. Without both: online if there is an
    API key and the server answers, else offline.

    Raises: ConfigError: online is asked for without a key, or nothing answers for ``timeout`` s.
    """
    asked = wanted or os.environ.get("WANDB_MODE") or None
    mode = SAME.get(asked, asked) if asked else None
    if mode not in (None, "online"):
        return mode
    if (problem := offline_reason(timeout)) is None:
        return "online"
    if mode == "online":
        raise ConfigError(f"W&B online: {problem}; {OFFLINE}")
    log.warning("W&B offline: %s. `wandb sync` sends the run later (docs/logging.md)", problem)
    return "offline"


def offline_reason(timeout: float) -> str | None:
    """Why no run can be online; None if one can. Without a key nothing goes over the network."""
    settings = wandb.setup().settings
    # Not wandb.login(): it asks the server for the user's name, and waits for it.
    if not (settings.api_key or settings.identity_token_file or requests.utils.get_netrc_auth(settings.base_url)):
        return "there is no API key (environment variable WANDB_API_KEY, or `wandb login`)"
    try:
        # Any answer will do. This goes through proxies, as W&B does.
        requests.head(settings.base_url, timeout=timeout, allow_redirects=False)
    except requests.exceptions.SSLError:
        return None  # the server answers; W&B reports the error
    except requests.exceptions.RequestException as error:
        return f"the server {settings.base_url} does not answer within {timeout:g} s ({type(error).__name__})"
    return None


@contextmanager
def redacted_arguments() -> Iterator[None]:
    """W&B stores the command's arguments when a run starts."""
    arguments, sys.argv = sys.argv, redact(sys.argv)
    try:
        yield
    finally:
        sys.argv = arguments


def set_environment(folder: Path) -> list[str]:
    """Keep W&B's staged artefacts and logs in the run folder, and its error reports off (they wait
    for a network). Variables that the user has set stay. Returns the names of the others."""
    wandb_folder = (folder / "wandb").resolve()
    values = {"WANDB_DATA_DIR": str(wandb_folder), "WANDB_CACHE_DIR": str(wandb_folder / "cache"),
              "WANDB_ERROR_REPORTING": "false"}  # fmt: skip
    unset = [name for name in values if name not in os.environ]
    os.environ |= {name: values[name] for name in unset}
    return unset


def stop_service(environment: Sequence[str]) -> None:
    """End W&B's process, which reads the environment once: the next job has other folders."""
    try:
        wandb.teardown()
    except SystemExit as stop:  # W&B's way to report that its process crashed; our run goes on
        log.error("the process of W&B ended with code %s", stop.code)
    for name in environment:
        os.environ.pop(name, None)


def table(rows: pd.DataFrame) -> Any:
    """The rows; missing values and nan are null."""
    if len(rows) > TABLE_LIMIT:
        log.warning("W&B table: the first %d of %d rows; the artefact has all", TABLE_LIMIT, len(rows))
        rows = rows.iloc[:TABLE_LIMIT]
    values: list[Any] = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    return wandb.Table(columns=list(rows.columns), data=values)


def line_series(chart: Chart) -> Any:
    return wandb.plot.line_series(
        xs=[line.xs for line in chart.lines], ys=[line.ys for line in chart.lines],
        keys=[line.label for line in chart.lines], title=chart.title, xname=chart.x_label,
    )  # fmt: skip


def artifacts(found: Evaluation, run_id: str, keeps_model: bool) -> Iterator[Any]:
    """Best checkpoint, rows and report, not copied: `wandb sync` reads them in the run folder."""
    paths = {("model", "checkpoint"): found.checkpoint if keeps_model else None, ("results", "rows"): found.results,
             ("report", "report"): found.report}  # fmt: skip
    note = {"note": found.note} if found.note else None
    for (kind, name), path in paths.items():
        if path is not None:
            artifact = wandb.Artifact(f"{run_id}-{name}", type=kind, metadata=note)
            add = artifact.add_dir if path.is_dir() else artifact.add_file
            add(str(path), policy="immutable", skip_cache=True)
            yield artifact
