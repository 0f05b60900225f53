"""Costs: Table 3, costs relative to ordinary training, and those of attacks and certificates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from invsmooth.records.rows import Declared
from invsmooth.reporting.averages import Averages, grouped
from invsmooth.reporting.methods import REFERENCE, differing, in_order, named, not_run, said
from invsmooth.reporting.runs import Run
from invsmooth.reporting.tables.grid import MISSING, Block, Entry, Table

COLUMNS = {"estimator": "estimator._target_", "trained_on": "data.name", "batch_size": "task.batch_size",
           "accelerator": "trainer.accelerator"}  # fmt: skip
PLACE = ["task", *COLUMNS]
"""The columns that compared timings have in common. The machine is in run.json."""
EVALUATED = ["dataset", "certifier", "n_samples", "attack", "attack_target", "protocol"]
COSTLY = ("algo.n_samples", "algo.n_iter", "algo.t_step", "algo.compute_match", "algo.smoothing", "algo.norm",
          "estimator.", "task.patch_size", "trainer.precision")  # fmt: skip
"""Settings that change the cost of a batch. Runs that differ in others only are averaged here."""
TIMED = (
    "Of each run the median over the batches logged in metrics.csv (train/seconds_per_batch); shown are means over the "
    "runs, which may have run on different machines (run.json), and differ in settings that do not change the cost, as in "
    f"σ_tr. {MISSING}: not run, or not on record."
)


def trainings(rows: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    """A line for each run that trained: PLACE, algo, method (of COSTLY), sigma_tr, costs."""
    lines = rows[["folder", "task", "algo", "sigma_tr"]].drop_duplicates("folder")
    lines = lines[[not math.isnan(runs[folder].seconds) for folder in lines["folder"]]]
    found = [runs[folder] for folder in lines["folder"]]
    configs = [run.config or {} for run in found]
    settings = {name: [str(c.get(key, MISSING)).rpartition(".")[2] for c in configs] for name, key in COLUMNS.items()}
    costs = {name: [getattr(run, name) for run in found] for name in ("seconds", "evals", "memory")}
    lines = lines.assign(**settings, **costs, method=lines["algo"], folders=lines["folder"], images=1)
    for algo, group in lines.groupby("algo"):
        trained = {folder: runs[folder].training or {} for folder in group["folder"]}
        own = {folder: {k: v for k, v in of.items() if k.startswith(COSTLY)} for folder, of in trained.items()}
        of_tasks = [[own[folder] for folder in same["folder"]] for _, same in group.groupby(["task", "estimator"])]
        keys = sorted({key for found in of_tasks for key in differing(found)})
        lines.loc[group.index, "method"] = [named(str(algo), said(own[folder], keys)) for folder in group["folder"]]
    return lines


def mean_entry(lines: pd.DataFrame, quantity: str, form: str = "{:.3g}", reference: float = 1.0) -> Entry:
    """The mean over runs, or over averages weighted by their images, relative to ``reference``."""
    known = lines[lines[quantity].notna()]
    if known.empty or math.isnan(reference):
        return Entry(MISSING)
    value = float(np.average(known[quantity], weights=known["images"]))
    std = math.sqrt(np.average((known[quantity] - value) ** 2, weights=known["images"]))
    folders = sorted({folder for joined in known["folders"].unique() for folder in joined.split(";")})
    source = {"quantity": quantity, "value": value / reference, "std": std / reference, "relative_to": reference,
              "runs": len(folders), "folders": ";".join(folders)}  # fmt: skip
    source |= {"rows": int(known["rows"].sum())} if "rows" in known else {}
    keys = {key: known.iloc[0][key] for key in (*PLACE, "algo", "method", *EVALUATED) if key in known}
    return Entry(form.format(value / reference), source | keys)


def seconds_table(trained: pd.DataFrame, anywhere: set[str], declared: Declared) -> Table:
    """Table 3."""
    methods = in_order(trained, declared)
    header = ["estimator and training set", "batch size", "on", *methods, *not_run(trained["algo"], anywhere, declared)]
    lines: list[list[str | Entry]] = []
    for place, group in grouped(trained, PLACE):
        task, estimator, data, batch, accelerator = place
        own = {method: mine for (method,), mine in grouped(group, ["method"])}
        entries = [mean_entry(own[m], "seconds", "{:.3g} s") if m in own else Entry(MISSING) for m in header[3:]]
        lines.append([f"{estimator} and {data} ({task})", batch, accelerator, *entries])
    notes = (TIMED, "Rows of each number: `table3.csv`.")
    blocks = [Block("seconds per training batch", header, lines)] if lines else []
    return Table("table3", "Table 3: seconds per training batch", notes, blocks)


def compute_table(trained: pd.DataFrame, anywhere: set[str], declared: Declared) -> Table:
    blocks = []
    for place, group in grouped(trained, PLACE):
        of_reference = group[group["method"] == REFERENCE]
        lines: list[list[str | Entry]] = []
        for method in in_order(group, declared):
            own = group[group["method"] == method]
            line: list[str | Entry] = [method]
            for quantity, form in (("seconds", "{:.3g}"), ("evals", "{:.4g}")):
                reference = float(of_reference[quantity].mean()) if len(of_reference) else math.nan
                line += [mean_entry(own, quantity, form), mean_entry(own, quantity, "{:.3g}", reference)]
            lines.append([*line, mean_entry(own, "memory", "{:.0f}")])
        lines += [[algo, *[Entry(MISSING)] * 5] for algo in not_run(group["algo"], anywhere, declared)]
        task, estimator, data, batch, accelerator = place
        header = ["algorithm", "seconds", f"× {REFERENCE}", "evaluations", f"× {REFERENCE}", "peak memory, MB"]
        heading = f"{task}: {estimator} trained on {data}, batches of {batch}, {accelerator}"
        blocks.append(Block(heading, header, lines, [("", 1), ("per batch", 2), ("per image and batch", 2), ("", 1)]))
    notes = (
        TIMED,
        f"Evaluations: forward passes of the network for each image of a batch. × {REFERENCE}: relative to ordinary "
        "training of the same network, data and batch size. Peak memory: of the tensors on a GPU, of the whole process on a "
        "CPU.",
        "Rows of each number: `compute.csv`.",
    )
    return Table("compute", "What a training batch costs", notes, blocks)


def evaluation_table(averages: Averages) -> Table:
    blocks = []
    for (task, dataset, protocol), group in grouped(averages.table, ["task", "dataset", "protocol"]):
        lines: list[list[str | Entry]] = []
        keys = ["method", "certifier", "n_samples", "attack", "attack_target"]
        groups: Any = group.groupby(keys, dropna=False, sort=False)  # in the order of the averages
        for (method, certifier, n_samples, attack, target), own in groups:
            size = MISSING if pd.isna(n_samples) else f"{n_samples:g}"
            attack_name = MISSING if pd.isna(attack) else f"{attack} on {target}"
            evaluations, seconds = mean_entry(own, "network_evals", "{:.4g}"), mean_entry(own, "seconds")
            gradients = mean_entry(own[own["eps"] > 0], "attack_grad_evals", "{:.4g}")
            lines.append([method, certifier, size, evaluations, seconds, attack_name, gradients])
        header = ["algorithm", "certifier", "S", "evaluations", "seconds", "attack", "gradients"]
        spans = [("", 3), ("certificate, per image and σ", 2), ("attack, per image and ε", 2)]
        heading = ", ".join(part for part in (f"{task} on {dataset}", protocol) if part)
        blocks.append(Block(heading, header, lines, spans))
    attacked_names = [c.name for c in averages.certifiers() if c.at == "attacked"]
    but = f", except for {', '.join(attacked_names)}, whose measurement is attacked" if attacked_names else ""
    notes = (
        "Evaluations: forward passes of the network for each image that a certifier takes alone; several certifiers of a "
        f"run share their draws, and one set serves all ε{but}. Certificates without smoothing have no draws (S {MISSING}). "
        "Seconds as measured, shared equally. Means over all ε, σ and measurement settings.",
        f"{MISSING}: not on record. Rows of each number: `evaluation.csv`.",
    )
    return Table("evaluation", "What attacks and certificates cost", notes, blocks)
