"""``python -m invsmooth.evaluate ckpt=PATH``: attack and certify a trained network."""

from __future__ import annotations

import copy
from collections.abc import Collection
from pathlib import Path
from typing import Any

import hydra
import hydra._internal.hydra as hydra_app
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invsmooth.config import cli, schema
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.records.origin import GROUPS, Origin, gone, read_origin
from invsmooth.sweeps import report_at_end as sweep

schema.register()


def task(cfg: DictConfig) -> None:
    from invsmooth.pipeline.run import evaluate_checkpoint

    if _refused:
        raise _refused.pop()
    cli.prepare_process()
    evaluate_checkpoint(cfg, Path(HydraConfig.get().runtime.output_dir))


# Not as a decorator: a worker process finds the task by its name, and on import registers the schema (above).
app = hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")(task)

_refused: list[Exception] = []
"""Why the job that this process begins takes nothing over from its checkpoint."""


class TakesOver(ConfigLoaderImpl):
    """Hydra's config loader. Where the config that it composes has a ``ckpt`` of ours, task and algorithm are those of the
    checkpoint unless the command line or an experiment chooses them, and so is the operator's matrix.

    The loader is the one place through which each config of each run and job comes, however its ``ckpt`` was given:
    quoted, interpolated, in an experiment, swept.
    """

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *args: Any, **options: Any
    ) -> DictConfig:
        """Raises: ConfigError, CheckpointError: something in the checkpoint cannot be taken over."""
        compose, more = super().load_configuration, (run_mode, *args)
        config = compose(config_name, overrides, *more, **options)
        # A multirun as a whole takes nothing over: each of its jobs comes here.
        origin = None if run_mode is RunMode.MULTIRUN else origin_of(config)
        if origin is None:
            return config
        chosen = self.compute_defaults_list(config_name, overrides, run_mode).overrides.override_choices
        wanted = {g: origin.choices[g] for g in GROUPS if g not in chosen}
        if wanted.get("algo") is None and "algo" in origin.names:  # nothing but the name matters to an evaluation
            wanted.pop("algo", None)
        for group, option in wanted.items():
            known = self.get_group_options(group, config_name=config_name, overrides=overrides)
            if option not in [o for o in known if not o.startswith("base_")]:  # those are schemas
                said = (
                    f"does not say which {group} it was trained with"
                    if option is None
                    else (f"was trained with {group}={option}, which is no option of {group} here")
                )
                raise ConfigError(
                    f"ckpt={origin.path} {said}; give {group}=NAME, or --config-dir with the option's folder"
                )
        if wanted:
            config = compose(config_name, [*(f"{g}={o}" for g, o in wanted.items()), *overrides], *more, **options)
        take_over(config, origin, {o.key_or_group for o in OverridesParser.create().parse_overrides(overrides)}, chosen)
        return config

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        _refused.clear()
        try:
            return super().load_sweep_config(master_config, sweep_overrides)
        except (ConfigError, CheckpointError, OmegaConfBaseException) as error:
            # The job fails with it, and the others go on.
            _refused.append(error)
            return ConfigLoaderImpl(self.config_search_path).load_sweep_config(master_config, sweep_overrides)


def origin_of(config: DictConfig) -> Origin | None:
    """Raises: ConfigError: ``ckpt`` is no path. CheckpointError: something in the file is wrong."""
    resolver = resolved if OmegaConf.is_interpolation(config, "ckpt") else OmegaConf.select
    ckpt = resolver(config, "ckpt", throw_on_missing=False)
    if ckpt is None:
        return None
    if not isinstance(ckpt, str):
        raise ConfigError(f"ckpt={ckpt} is not allowed; allowed: the path of one checkpoint")
    return read_origin(ckpt)


def resolved(config: DictConfig, key: str, **options: Any) -> Any:
    """A value that may refer to Hydra's own, as ``${hydra:runtime.cwd}/best.ckpt``, before Hydra makes them known."""
    hydra_config = HydraConfig.instance()
    outer, alone = hydra_config.cfg, copy.deepcopy(config)
    try:
        hydra_config.set_config(alone)
        return OmegaConf.select(alone, key, **options)
    finally:
        hydra_config.cfg = outer


def take_over(config: DictConfig, origin: Origin, given: Collection[str], chosen: Collection[str]) -> None:
    """Set names and operator to those of the checkpoint, as plain values.

    Args:
        given: keys of the command line: these values stay.
        chosen: groups that the command line or an experiment chooses: where it is another option, its name stays.
    Raises: ConfigError: the file with the operator's matrix is gone.
    """
    choices, operator = config.hydra.runtime.choices, config.operator
    for group, name in origin.names.items():
        same = group not in chosen or choices.get(group) == origin.choices[group]
        if same and f"{group}.name" not in given:
            config[group].name = name
    if operator.get("name") != origin.operator["name"]:  # refused where the network is known (invsmooth.pipeline.build)
        return
    defaults = OmegaConf.structured(schema.Operator)
    free = [k for k in ("seed", "block", "matrix") if f"operator.{k}" not in given and operator.get(k) == defaults[k]]
    if "matrix" in free and gone(matrix := origin.operator["matrix"]):
        raise ConfigError(
            f"ckpt={origin.path} was trained with the measurement matrix in {matrix}, which is no file here; give "
            "operator.matrix=PATH, a copy of it"
        )
    for key in free:
        operator[key] = origin.operator[key]
    for key, value in origin.ratios.items():  # a matrix from a file is that of one ratio
        if f"operator.{key}" not in given:
            operator[key] = value


def main() -> None:
    usual = hydra_app.ConfigLoaderImpl  # type: ignore[attr-defined]
    hydra_app.ConfigLoaderImpl = TakesOver  # type: ignore[attr-defined]
    try:
        cli.run(app, after_error=sweep.conclude_broken)
    finally:
        hydra_app.ConfigLoaderImpl = usual  # type: ignore[attr-defined]


if __name__ == "__main__":
    # What is defined in __main__ is not found by name from another process.
    from invsmooth.evaluate import main as run_module

    run_module()
