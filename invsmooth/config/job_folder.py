"""Names of run folders. All are different; those of a sweep name what differs between its jobs."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from invsmooth.core.errors import ConfigError
from invsmooth.core.redact import redact

LONGEST_LABEL = 80  # characters; the number in front of it makes the name of a job unique


def token() -> str:
    """Runs that start in the same microsecond, on machines with a common disk, get different folders."""
    return secrets.token_hex(4)


def job_label(sweep_folder: str, overrides: Sequence[str]) -> str:
    """The swept keys but task and algorithm, with their values in this job: ``_seed-1_eps-0.1``;
    empty if there are none. ``multirun.yaml``, which Hydra writes before the first job, names them.
    Credentials are left out."""
    try:
        swept = swept_in((Path(sweep_folder) / "multirun.yaml").read_text(encoding="utf-8"))
    except FileNotFoundError:  # another sweeper than Hydra's own
        return ""
    given = dict(o.lstrip("+~").split("=", 1) for o in redact(list(overrides)) if "=" in o)
    wanted = [k for k in swept if k in given and k not in ("task", "algo")]
    # No "=" or ",": a path with them would have to be quoted on the command line.
    parts = [re.sub(r"[^\w.]+", "-", f"{key.rsplit('.', 1)[-1]}-{given[key]}").strip("-") for key in wanted]
    return "".join(f"_{part}" for part in parts)[:LONGEST_LABEL]


@functools.lru_cache(1)  # every job of a sweep asks
def swept_in(multirun: str) -> list[str]:
    """:func:`swept_keys` by the content of a ``multirun.yaml``."""
    return swept_keys(OmegaConf.create(multirun).hydra)


def swept_keys(hydra: DictConfig) -> list[str]:
    """The keys with several values in a multirun, of its ``hydra`` node."""
    return list(dict.fromkeys(o.key_or_group for o in sweep_overrides(hydra)))


def sweep_overrides(hydra: DictConfig) -> list[Override]:
    running = GlobalHydra.instance()
    loader = running.config_loader() if running.is_initialized() else None  # knows the options that a glob matches
    params = hydra.sweeper.get("params") or {}
    given = [*hydra.overrides.task, *(f"{k}={v}" for k, v in params.items())]
    return [o for o in OverridesParser.create(loader).parse_overrides(given) if o.is_sweep_override()]


def canonical(value: str) -> object:
    """Equal for values that mean the same: 25 and 25.0, also in a list."""
    try:
        found = OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        return value
    return plain(found)


def plain(value: object) -> object:
    if isinstance(value, list):
        return tuple(plain(v) for v in value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def check_values(hydra: DictConfig) -> None:
    """Raises: ConfigError: a sweep over no value (a glob that matches no option, an empty range), or over one twice; jobs in
    batches of none."""
    if (most := hydra.sweeper.get("max_batch_size")) is not None and not (isinstance(most, int) and most >= 1):
        raise ConfigError(f"hydra.sweeper.max_batch_size={most} is not allowed; allowed: a whole number >= 1, or null")
    for override in sweep_overrides(hydra):
        if not override.is_discrete_sweep():
            continue
        values = set[object]()
        for value in override.sweep_string_iterator():
            if (same := canonical(value)) in values:
                raise ConfigError(f"{override.input_line} has {value} twice, so that the same job would run twice")
            values.add(same)
        if not values:
            glob = isinstance(override.value(), Glob)
            hint = "a glob matches options of a config group, no files: list these, KEY=A,B" if glob else "give values"
            raise ConfigError(f"{override.input_line} has no value, so that the sweep has no job; {hint}")
