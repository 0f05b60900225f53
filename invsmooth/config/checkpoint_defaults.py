"""Defaults of an evaluation: task, algorithm and operator are those that its checkpoint was trained with."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_app
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from invsmooth.config.parts import options, packaged
from invsmooth.config.schema import OPEN
from invsmooth.core.checkpoints import checkpoint_file
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.records.origin import GROUPS, Origin, gone, names_file, read_origin

_refused: list[Exception] = []  # why the job that this process begins takes nothing over


def raise_refused() -> None:
    if _refused:
        raise _refused.pop()


@contextmanager
def installed() -> Iterator[None]:
    """Hydra composes configs with :class:`CheckpointDefaults`."""
    usual = hydra_app.ConfigLoaderImpl  # type: ignore[attr-defined]
    hydra_app.ConfigLoaderImpl = CheckpointDefaults  # type: ignore[attr-defined]
    try:
        yield
    finally:
        hydra_app.ConfigLoaderImpl = usual  # type: ignore[attr-defined]


class CheckpointDefaults(ConfigLoaderImpl):
    """Hydra's config loader. If the config that it composes has a ``ckpt`` of ours, then task,
    algorithm, operator, channels and scale are those of the checkpoint, unless the command line or an experiment
    chooses them. Every config of every run and job comes through it, however its ``ckpt`` is given:
    quoted, interpolated, in an experiment, swept."""

    def load_configuration(
        self, config_name: str | None, overrides: list[str], run_mode: RunMode, *args: Any, **options: Any
    ) -> DictConfig:
        """Raises: ConfigError, CheckpointError: something in the checkpoint cannot be taken over."""
        compose, more = super().load_configuration, (run_mode, *args)
        config = compose(config_name, overrides, *more, **options)
        if run_mode is RunMode.MULTIRUN:  # as a whole it takes nothing over: each of its jobs comes here
            return config
        given_ckpt = ckpt_of(config)
        ckpt = None if given_ckpt is None else str(checkpoint_file(given_ckpt))
        if ckpt != given_ckpt:  # a run folder
            config.ckpt = ckpt
        # Not later: a training may write it while the rest of the config is read.
        if ckpt is not None and not Path(ckpt).is_file():
            raise CheckpointError(f"ckpt={ckpt}: there is no such file; give the path of a checkpoint")
        origin = None if ckpt is None else read_origin(ckpt)
        if origin is None:
            return config
        chosen = self.compute_defaults_list(config_name, overrides, run_mode).overrides.override_choices
        wanted = {}
        for group in (g for g in GROUPS if g not in chosen):
            option = origin.choices[group]
            known = self.get_group_options(group, config_name=config_name, overrides=overrides)
            if option in known:
                wanted[group] = option
            elif group not in origin.names:
                said = "does not say" if option is None else f"was trained with {group}={option}, but does not say"
                raise ConfigError(f"ckpt={origin.path} {said} which {group} it was trained with; give {group}=NAME")
        if wanted:
            config = compose(config_name, [*(f"{g}={o}" for g, o in wanted.items()), *overrides], *more, **options)
            if ckpt != given_ckpt:
                config.ckpt = ckpt
        given = {o.key_or_group for o in OverridesParser.create().parse_overrides(overrides)}
        choices = config.hydra.runtime.choices
        for group, name in origin.names.items():  # task.name, algo.name; that of another chosen option stays
            same = group not in chosen or choices.get(group) == origin.choices[group]
            if same and f"{group}.name" not in given:
                config[group].name = name
        # Every task has an operator of its own: another task than that of the checkpoint chooses another one.
        other = "operator" in given or ("task" in chosen and choices.task != origin.choices["task"])
        if not other and choices.get("experiment") is not None:
            others = [o for o in overrides if not o.startswith("experiment=")]
            alone = compose(config_name, [*(f"{g}={o}" for g, o in wanted.items()), *others], *more, **options)
            other = alone.hydra.runtime.choices.operator != choices.operator
        take_operator(config, origin, given, other)
        if "data.channels" not in given and config.data.channels == 1:
            config.data.channels = origin.channels
        if config.get("scale", "") is None:  # an audit has no such key
            config.scale = origin.scale
        return config

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        _refused.clear()
        try:
            return super().load_sweep_config(master_config, sweep_overrides)
        except (ConfigError, CheckpointError, OmegaConfBaseException) as error:
            # The job fails with it, and the others go on.
            _refused.append(error)
            return ConfigLoaderImpl(self.config_search_path).load_sweep_config(master_config, sweep_overrides)


def ckpt_of(config: DictConfig) -> str | None:
    """Raises: ConfigError: ``ckpt`` is no path."""
    hydra_config = HydraConfig.instance()
    outer = hydra_config.cfg
    try:
        if OmegaConf.is_interpolation(config, "ckpt"):
            # It may refer to Hydra's own, as ${hydra:runtime.cwd}/best.ckpt, before Hydra makes them known.
            config = copy.deepcopy(config)
            hydra_config.set_config(config)
        ckpt = OmegaConf.select(config, "ckpt", throw_on_missing=False)
    finally:
        hydra_config.cfg = outer
    if ckpt is not None and not isinstance(ckpt, str):
        raise ConfigError(f"ckpt={ckpt} is not allowed; allowed: the path of one checkpoint")
    return ckpt


def take_operator(config: DictConfig, origin: Origin, given: Collection[str], chosen: bool) -> None:
    """Set class and parameters of the operator to those of the checkpoint, as plain values; the whole
    node unless the command line or an experiment has ``chosen`` it.
    Raises: ConfigError: a file that the operator was made from is gone. CheckpointError: the class is not trusted."""
    node, trained = config.operator, origin.operator
    target = trained.get("_target_") or packaged("operator").get(str(trained["name"]))
    same = node.get("_target_") == target and node.get("name") == trained["name"]
    if not same and chosen:  # refused where the network is known (invsmooth.pipeline)
        return
    if not same:  # only the file names this class
        from invsmooth.operators.rebuild import operator_class  # --help does not wait for torch

        operator_class(target, list(config.trust), Path(origin.path))
    # The free parameters of one of our operators, as its option gives them; None for a class from elsewhere.
    ours = [node for node in options("operator").values() if target and node.get("_target_") == target]
    defaults = (
        {str(k): v for k, v in ours[0].items() if k not in ("_target_", *OPEN["operator"].keys)} if ours else None
    )
    reserved = () if same else [k for k in OPEN["operator"].keys if k in trained]
    free = [k for k in trained if k not in ("_target_", *OPEN["operator"].keys) and (defaults is None or k in defaults)]
    taken = [k for k in (*free, *reserved) if f"operator.{k}" not in given and (
        not same or defaults is None or node.get(k) == defaults.get(k, node.get(k)))]  # fmt: skip
    if any(isinstance(trained[k], Mapping | list) for k in taken if k in free):
        from invsmooth.operators.rebuild import check_nested

        check_nested({k: trained[k] for k in taken if k in free}, list(config.trust), Path(origin.path))
    files = {k: v for k in free if names_file(v := trained[k])}
    for key, path in files.items():
        if key in taken and gone(path):
            was = f"ckpt={origin.path} was trained with the measurement {key} in {path}"
            raise ConfigError(f"{was}, which is no file here; give operator.{key}=PATH, a copy of it")
    # A matrix from a file is that of one ratio.
    ratios = [k for k in ("ratio", "train_ratio") if files and k in trained and f"operator.{k}" not in given]
    OmegaConf.set_struct(node, False)
    for key in (*taken, *ratios, *(["_target_"] if not same else [])):
        node[key] = target if key == "_target_" else trained[key]
    OmegaConf.set_struct(node, None)
