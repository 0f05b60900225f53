"""Run folders that are damaged: a report leaves them out, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from invsmooth.core.errors import ConfigError
from invsmooth.core.units import Units
from invsmooth.records.rows import Declared, read_rows
from invsmooth.reporting.methods import read_runs
from invsmooth.reporting.runs import Run
from invsmooth.reporting.saved_pictures import picture_of, why_damaged, with_pictures


class DamagedRuns(ConfigError):
    """Some of the runs could not be used. The others are reported."""


def sound_runs(folders: Sequence[Path]) -> tuple[pd.DataFrame, Declared, dict[str, Run], dict[Path, str]]:
    """Rows, declarations and runs of the folders that can be used, and what was left out and why: folders with damaged
    rows, config.yaml, run.json or metrics.csv, and single files of pictures.
    Raises: ConfigError: no folder can be used."""
    damaged: dict[Path, str] = {}
    left, usable = list(folders), list[Path]()
    while left != usable:  # anew, because a row of a damaged run may also be in the file of its sweep
        usable = left
        try:
            rows, declared = read_rows(usable, damaged)
        except ValueError as error:
            raise ConfigError("none of the runs can be used:" + listed(damaged)) from error
        for folder, why in impossible_values(rows, declared).items():
            damaged[Path(folder) / "results.parquet"] = why
        runs = read_runs(rows, damaged)
        left_out = {path.parent if path.name == "results.parquet" else path for path in damaged}
        left = [folder for folder in usable if folder not in left_out]
    for _, cell in with_pictures(rows).iterrows():
        path = picture_of(cell)
        if why := why_damaged(path):
            damaged[path] = why
    return rows, declared, runs, damaged


def impossible_values(rows: pd.DataFrame, declared: Declared) -> dict[str, str]:
    """Folder -> a column with a value that no run writes."""
    sigma, eps = rows["sigma"], rows["eps"]
    rules = {
        "eps": ~(np.isfinite(eps) & (eps >= 0)),
        "sigma": sigma.notna() & ~(np.isfinite(sigma) & (sigma >= 0)),
        "sigma_b": ~(np.isfinite(rows["sigma_b"]) & (rows["sigma_b"] >= 0)),
        "ratio": ~(rows["ratio"] > 0),
        "n_samples": (rows["n_samples"] < 0).fillna(False),
        "bound": rows["bound"] < 0,
        "units": ~rows["units"].isin([unit.value for unit in Units]),
        "certifier": ~rows["certifier"].isin(list(declared.certifiers)),
        "image": rows["image"].isna(), "task": rows["task"].isna(), "algo": rows["algo"].isna(),
    }  # fmt: skip
    found: dict[str, str] = {}
    for column, wrong in rules.items():
        for folder in rows.loc[wrong.astype(bool), "folder"].unique():
            value = rows.loc[wrong.astype(bool) & (rows["folder"] == folder), column].iloc[0]
            found.setdefault(folder, f"{column} = {value} is no value that invsmooth writes")
    return found


def listed(damaged: Mapping[Path, str]) -> str:
    return "".join(f"\n  {path}: {why.removeprefix(f'{path} ')}" for path, why in damaged.items())
