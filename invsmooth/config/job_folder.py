"""Names of run folders. All are different; those of a sweep name what differs between its jobs."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

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
    from hydra.core.override_parser.overrides_parser import OverridesParser

    params = hydra.sweeper.get("params") or {}
    told = OverridesParser.create().parse_overrides([*hydra.overrides.task, *(f"{k}={v}" for k, v in params.items())])
    return list(dict.fromkeys(o.key_or_group for o in told if o.is_sweep_override()))
