"""What an evaluation has computed before: attacks, draws, and all the cells of an image in a measurement setting."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from invsmooth.atomic import write_bytes
from invsmooth.cache import Results, Store, content_key, source_key
from invsmooth.cache.store import pack, unpack
from invsmooth.callbacks.attack_sweep import AttackPlan
from invsmooth.callbacks.certify_plan import CertifyPlan
from invsmooth.certificate_files.record import operator_sha256
from invsmooth.estimators.frozen import architecture, state_sha256
from invsmooth.measurement import Measured
from invsmooth.operators import LinearOperator
from invsmooth.rows import SCHEMA

CODE = ("operators", "estimators", "attacks", "certificates", "certificate_files", "callbacks", "measurement", "metrics",
        "pictures", "rng", "rows", "units")  # fmt: skip
"""What the rows come from. Other code than that which computed a result does not take it over."""

CELLS = "cells"
ROWS = "rows.parquet"


def of_estimator(estimator: nn.Module | str, accelerator: str) -> dict[str, Any]:
    """What determines all results of an estimator; of one that is not trained yet, a name in its place."""
    known: dict[str, Any] = {"weights": estimator}
    if isinstance(estimator, nn.Module):
        known = {"weights": state_sha256(estimator), "architecture": architecture(estimator)}
    return known | {"code": source_key(*CODE), "torch": str(torch.__version__), "accelerator": accelerator}


@dataclass(frozen=True)
class Recalled:
    """The cells of one image (or batch of images) in one setting, as they were computed before."""

    rows: list[dict[str, Any]]
    files: Mapping[str, bytes]


class Recall:
    """What is known of an estimator under one attack and one plan.

    Args:
        store: where it is kept.
        estimator: what :func:`of_estimator` says.
        columns: columns that all rows share, but for the run's.
        options: further settings that determine the rows and files (of the check, whether files are written).
    """

    def __init__(
        self, store: Store, estimator: Mapping[str, Any], plan: CertifyPlan, attack: AttackPlan,
        columns: Mapping[str, Any], options: Mapping[str, Any], n_pictures: int,
    ) -> None:  # fmt: skip
        self.results = Results(store, estimator, torch.device("cpu"))
        self.columns, self.n_pictures, self.held = dict(columns), n_pictures, ExitStack()
        self.operators: dict[LinearOperator, str] = {}
        self.settings = {
            "plan": dataclasses.asdict(plan) | {"n_images": plan.n_images if plan.over_images != "none" else None},
            "attack": dataclasses.asdict(attack), "columns": dict(columns), **options,
        }  # fmt: skip

    def of(self, measured: Measured) -> Results:
        """Results about these measurements: attacks, errors and moments of draws."""
        operator = measured.setting.operator
        if operator not in self.operators:  # of a large matrix it takes longer than a small network
            self.operators[operator] = operator_sha256(operator)
        return self.results.within(measured.x.device, operator=self.operators[operator])

    def key(self, measured: Measured, number: int) -> str:
        """Of all cells of the images measured, which are the ``number``-th of their setting."""
        what = {"x": measured.x, "b": measured.b, "y": measured.y, "names": list(measured.names),
                "ratio": measured.setting.ratio, "sigma_b": measured.setting.sigma_b}  # fmt: skip
        return self.of(measured).key(CELLS, self.settings | what | {"pictures": number < self.n_pictures})

    def begin(self, measured: Measured, number: int) -> Recalled | None:
        """The cells, if they were computed before; else None, and until :meth:`end` no other process begins them."""
        self.end()
        store, key = self.results.store, self.key(measured, number)
        self.held.enter_context(store.once(CELLS, key))
        kept = store.get(CELLS, key)
        self.results.counts[f"{CELLS} {'computed' if kept is None else 'recalled'}"] += 1
        if kept is None:
            return None
        self.end()
        files = unpack(kept)
        return Recalled(pq.read_table(io.BytesIO(files.pop(ROWS))).to_pylist(), files)

    def keep(
        self, measured: Measured, number: int, rows: Iterable[Mapping[str, Any]], folder: Path, files: Iterable[Path]
    ) -> None:
        """Keep all cells of the images: rows, and files in the run's folder. Rows lose the run's columns when recalled."""
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), buffer)
        content = {str(f.relative_to(folder)): f.read_bytes() for f in files} | {ROWS: buffer.getvalue()}
        self.results.store.put(CELLS, self.key(measured, number), pack(content))
        self.end()

    def end(self) -> None:
        """Let others begin the cells that were begun."""
        self.held.close()


def experiment_key(estimator: Mapping[str, Any], plan: CertifyPlan, attack: AttackPlan, more: Mapping[str, Any]) -> str:
    """A short name of an experiment: of all that determines its rows but for the axes that tell them apart (image, eps,
    sigma, sigma_b, ratio, certifier). Runs of one experiment have rows in common where they have cells in common."""
    # Where the confidence is shared out over the axes, how many values they have is part of it.
    axes = () if plan.simultaneous else ("eps", "sigma", "n_images")
    kept = {k: v for k, v in dataclasses.asdict(plan).items() if k not in (*axes, "certifiers", "bands")}
    searched = {k: v for k, v in dataclasses.asdict(attack).items() if k not in axes}
    return content_key({"estimator": estimator, "plan": kept, "attack": searched, "more": more})[:10]


def restore(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files of recalled cells to the run's folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
