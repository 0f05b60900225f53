"""A run folder beside its rows: the settings of training and evaluation (config.yaml), and the cost
of a training batch (metrics.csv). Either may be missing; unknown is None or nan, never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from invsmooth.core.errors import ConfigError

# The C parser is ten times faster, which counts at hundreds of runs; libyaml may be missing.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Settings = Mapping[str, Any]
"""Config keys with dots to values; what a run was trained or evaluated with, but for its seed."""
TRAINING = ("algo.", "task.", "estimator.", "operator.", "data.name", "data.limit", "data.augment", "data.holdout",
            "trainer.max_", "trainer.ema_decay", "trainer.precision", "trainer.gradient_clip_val", "ckpt")  # fmt: skip
NOT_TRAINING = ("algo._target_", "algo.name", "algo.chunk_size", "task.name", "task.eps", "task.step_size",
                "task.n_iter", "operator._target_", "operator.name", "operator.ratio", "operator.sigma_b",
                "operator.noise_seed")  # fmt: skip
"""Settings of the test, and the attack of the task, from which algo.eps and its like are computed:
without an attack it is not used."""
EVALUATION = ("attack.", "certify.confidence", "certify.over_", "certify.quantile", "data.crop", "data.test.",
              "operator.noise_seed")  # fmt: skip
NOT_EVALUATION = ("attack._target_", "attack.eps", "attack.name", "attack.target", "attack.chunk_size",
                  "attack.check_samples", "data.test.root")  # fmt: skip
"""Settings with a column in the rows, and those that do not change the numbers."""
METRICS = {"seconds": "train/seconds_per_batch", "evals": "train/network_evals", "memory": "train/peak_memory_mb"}


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        config: every setting; None without config.yaml.
        training: of the network; None where that is not on record.
        seconds, evals: of a training batch, and network evaluations for each of its images: medians
            over the batches logged, so that the first ones and a busy machine do not count; or nan.
        memory: most memory held in training, MB.
        parameters: numbers that the network has learned; None where run.json does not say it.
    """

    folder: Path
    config: Settings | None
    training: Settings | None
    evaluation: Settings | None
    seconds: float = math.nan
    evals: float = math.nan
    memory: float = math.nan
    parameters: int | None = None


def read_run(folder: Path) -> Run:
    """Raises: ConfigError: config.yaml is no YAML mapping, run.json no record, or metrics.csv no table of numbers."""
    config, metrics, parameters = read_config(folder), read_metrics(folder), read_parameters(folder)
    if config is None:
        return Run(folder, None, None, None, **metrics, parameters=parameters)
    evaluation = chosen(config, EVALUATION, NOT_EVALUATION)
    return Run(folder, config, trained_with(folder, config), evaluation, **metrics, parameters=parameters)


def trained_with(folder: Path, config: Settings) -> Settings | None:
    """The run's own settings if it trained; else those of the run that its checkpoint lies in."""
    trained: Settings | None = config
    if config.get("ckpt") is not None and not (folder / "checkpoints").is_dir():
        # The config of an evaluation gives the algorithm's default values, not those its checkpoint was trained with.
        source = Path(str(config["ckpt"])).parent
        trained = read_config(source.parent) if source.name == "checkpoints" else None
    return None if trained is None else chosen(trained, TRAINING, NOT_TRAINING)


def chosen(config: Settings, prefixes: tuple[str, ...], but: tuple[str, ...]) -> Settings:
    return {key: value for key, value in config.items() if key.startswith(prefixes) and key not in but}


def read_config(folder: Path) -> Settings | None:
    """config.yaml with dotted keys; None where there is none."""
    path = folder / "config.yaml"
    try:
        read = yaml.load(path.read_bytes(), LOADER)
    except OSError:
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number of thousands of digits
        raise ConfigError(f"{path} is no YAML: {str(error).splitlines()[0]}; leave the run out of runs=") from error
    if not isinstance(read, dict):
        raise ConfigError(f"{path} is no config: it holds no keys; leave the run out of runs=")
    try:
        return dict(flat(read))
    except RecursionError as error:
        raise ConfigError(f"{path} contains itself; leave the run out of runs=") from error


def flat(config: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", tuple(value) if isinstance(value, list) else value


def read_parameters(folder: Path) -> int | None:
    """Of run.json; None where there is none, or it does not say."""
    found = read_record(folder).get("parameters")
    return found if isinstance(found, int) else None


def read_record(folder: Path) -> dict[str, Any]:
    """run.json; empty where there is none. Raises: ConfigError: it is no record of a run."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no record of a run: {error}; leave the run out of runs=") from error
    groups = [record.get(group) or {} for group in ("versions", "git")] if isinstance(record, dict) else [None]
    if not all(isinstance(group, dict) for group in groups):
        raise ConfigError(f"{path} is no record of a run; leave the run out of runs=")
    found: dict[str, Any] = record
    return found


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_metrics(folder: Path) -> dict[str, Any]:
    """Of metrics.csv, whose columns have numbers only in the lines in which they were logged."""
    wanted = set(METRICS.values())
    try:
        logged = pd.read_csv(folder / "metrics.csv", usecols=lambda column: column in wanted)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return {}
    except (pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{folder / 'metrics.csv'} is no CSV: {error}; leave the run out of runs=") from error
    found = {name: logged[column].dropna() for name, column in METRICS.items() if column in logged}
    if texts := [METRICS[name] for name, values in found.items() if not pd.api.types.is_numeric_dtype(values)]:
        what = f"{folder / 'metrics.csv'} has no numbers in the columns {', '.join(texts)}"
        raise ConfigError(f"{what}; leave the run out of runs=")
    return {name: float(v.max() if name == "memory" else v.median()) for name, v in found.items() if len(v)}
