"""The methods that are compared: the training algorithms, labelled with the training settings in
which they differ. Runs that differ only in the seed are one method, and only these are averaged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.errors import ConfigError
from invsmooth.records.rows import KEY, Declared
from invsmooth.reporting.runs import Run, Settings, read_run

CLASS = "estimator._target_"
"""The setting with the class of the network."""
REFERENCE = "ord"  # ordinary training: what costs are relative to, and the paper's "Vanilla" reconstruction
SYMBOLS = {"algo.sigma": "σ_tr", "algo.eps": "ε_tr", "algo.n_samples": "S_tr", "algo.n_iter": "T_itr",
           "algo.t_step": "T_step", "algo.beta": "β", "trainer.max_steps": "batches",
           "attack.n_iter": "attack gradients"}  # fmt: skip
THREAT, SIGNAL = "threat", "signal"
"""The column, of certifiers that have it, with what is attacked; and what is attacked everywhere else."""
NETWORK = ["folder", "task", "algo", "estimator_sha256"]  # the columns that identify the network of a row


def read_runs(rows: pd.DataFrame, damaged: dict[Path, str] | None = None) -> dict[str, Run]:
    """The runs of the rows, by folder. ``damaged``: those that cannot be used are left out and noted there.
    Raises: ConfigError: one cannot be used, without ``damaged``."""
    runs: dict[str, Run] = {}
    for folder in sorted(rows["folder"].unique()):
        try:
            runs[folder] = read_run(Path(folder))
        except ConfigError as error:
            if damaged is None:
                raise
            damaged[Path(folder)] = str(error)
    return runs


def with_methods(rows: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    """The rows with columns

    - ``method``: the algorithm, and the training settings by which it differs from the other runs
      of its algorithm; the network (the start of its hash) where these are not on record;
    - ``sigma_tr``: smoothing noise of its training, grey levels; nan: none, or not on record;
    - ``protocol``: the evaluation settings without a column that differ on a data set;
    - ``label``: see :func:`with_labels`."""
    networks = rows[NETWORK].drop_duplicates(ignore_index=True)
    known = trainings(networks, runs)
    sigmas = [(settings or {}).get("algo.sigma") for settings in known]
    networks["method"], networks["sigma_tr"] = networks["algo"], [np.nan if s is None else float(s) for s in sigmas]
    for algo, group in networks.groupby("algo"):
        of_tasks = [same for _, same in group.groupby("task")]
        keys = sorted({key for same in of_tasks for key in differing([known[k] for k in same.index])})
        within = {key for same in of_tasks for key in of_one_class([known[k] for k in same.index])}
        keys = [key for key in keys if key == CLASS or not key.startswith("estimator.") or key in within]
        labels = pd.Series([said(known[k], keys) for k in group.index], index=group.index)
        for same in of_tasks:
            unknown = [k for k in same.index if known[k] is None]
            if unknown and same["estimator_sha256"].nunique() > 1:  # which of them are alike is not on record
                for k in unknown:
                    labels[k] = f"network {str(same.loc[k, 'estimator_sha256'])[:8]}"
        networks.loc[group.index, "method"] = [named(str(algo), label) for label in labels]
    return with_labels(with_protocols(rows.merge(networks, on=NETWORK, how="left"), runs))


def named(algo: str, label: str) -> str:
    return f"{algo} ({label})" if label else algo


def with_protocols(rows: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    places = rows[["folder", "task", "dataset"]].drop_duplicates(ignore_index=True).assign(protocol="")
    for _, group in places.groupby(["task", "dataset"]):
        own = [runs[folder].evaluation for folder in group["folder"]]
        keys = differing(own)
        labels = [said(settings, keys) for settings in own]
        if any(own):
            labels = [label if k else "evaluation settings unknown" for label, k in zip(labels, own, strict=True)]
        places.loc[group.index, "protocol"] = labels
    return rows.merge(places, on=["folder", "task", "dataset"], how="left")


def trainings(networks: pd.DataFrame, runs: Mapping[str, Run]) -> list[Settings | None]:
    """With what each network was trained: as its run says, or another run with the same weights."""
    found: list[tuple[Any, Settings | None]] = []
    for _, line in networks.iterrows():
        run = runs[line["folder"]]
        same = run.config is None or run.config.get("algo.name", line["algo"]) == line["algo"]
        found.append((line["estimator_sha256"], run.training if same else None))
    by_weights = {sha: settings for sha, settings in found if settings is not None and pd.notna(sha)}
    return [settings if settings is not None else by_weights.get(sha) for sha, settings in found]


def differing(settings: Sequence[Settings | None]) -> list[str]:
    """The keys whose values are not the same in all settings that are known."""
    known = [s for s in settings if s is not None]
    # repr tells 1 from True and needs no hashable values.
    return [key for key in sorted({key for s in known for key in s}) if len({repr(s.get(key)) for s in known}) > 1]


def of_one_class(settings: Sequence[Settings | None]) -> list[str]:
    """The keys in which networks of one class differ. Settings of another class say nothing."""
    classes = {
        repr(s.get(CLASS)): [t for t in settings if t is not None and t.get(CLASS) == s.get(CLASS)]
        for s in settings
        if s
    }
    return [key for same in classes.values() for key in differing(same)]


def said(settings: Settings | None, keys: Sequence[str]) -> str:
    """The values of ``keys`` as text, those with a symbol first."""
    own = {key: (settings or {})[key] for key in keys if key in (settings or {})}
    words = []
    for key, value in sorted(own.items(), key=lambda item: (item[0] != CLASS, item[0] not in SYMBOLS, item[0])):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        shown = f"{value:g}" if number else str(value)
        name = "" if key == CLASS else f"{SYMBOLS.get(key, key.removeprefix('algo.').removeprefix('estimator.'))} = "
        words.append(name + (shown.rpartition(".")[2] if key == CLASS else shown))
    return ", ".join(words)


def algorithm(declared: Declared, name: str) -> AlgorithmDeclaration:
    """The declaration of an algorithm; the default one if it declared nothing."""
    return declared.algorithms.get(name) or AlgorithmDeclaration(name)


def in_order(methods: pd.DataFrame, declared: Declared) -> list[str]:
    """Methods of a frame with algo, method, sigma_tr: by algorithm, the largest noise first."""
    once = methods[["algo", "method", "sigma_tr"]].drop_duplicates("method")
    once = once.assign(rank=[algorithm(declared, algo).order for algo in once["algo"]])
    return list(once.sort_values(["rank", "algo", "sigma_tr", "method"], ascending=[True, True, False, True])["method"])


def not_run(present: Iterable[str], anywhere: Iterable[str], declared: Declared) -> list[str]:
    """The algorithms that some run has and these do not."""
    return sorted(set(anywhere) - set(present), key=lambda algo: (algorithm(declared, algo).order, algo))


def with_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column ``label``: what must not be averaged together (method, evaluation
    settings, number of draws if several). Rows without methods get their algorithm as method."""
    if "label" in rows:
        return rows
    if "method" not in rows:
        rows = rows.assign(method=rows["algo"], sigma_tr=np.nan, protocol="")
    rows = with_threats(rows)
    draws = set_draws(rows)
    several = draws.groupby([rows[c] for c in ("task", "dataset", "certifier")]).nunique().max() > 1
    size = np.where(several & draws.notna(), ", S = " + rows["n_samples"].astype(str), "")
    protocol = np.where(rows["protocol"] != "", ", " + rows["protocol"], "")
    return rows.assign(label=rows["method"] + protocol + size)


def with_threats(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows whose attack is not on the signal, and so has another eps, with this as a part of
    their evaluation settings."""
    if THREAT not in rows:
        return rows
    other = rows[THREAT].notna() & rows[THREAT].ne(SIGNAL)
    joined = rows["protocol"] + np.where(rows["protocol"] != "", ", ", "") + "threat = " + rows[THREAT].astype(str)
    return rows.assign(protocol=rows["protocol"].mask(other, joined))


def set_draws(rows: pd.DataFrame) -> pd.Series:
    """The number of draws that was set; nan for certifiers that choose it for each image, and without
    smoothing."""
    once = rows[~rows.duplicated(list(KEY), keep=False)]
    sizes = once.groupby(["run_id", "certifier"], dropna=False)["n_samples"].nunique()
    own = sizes[sizes > 1].index.get_level_values("certifier").unique()
    none = rows["certifier"].isin(own) | rows["sigma"].isna()
    return rows["n_samples"].astype("Float64").mask(none).astype("float64")
