"""What an evaluation has computed before: attacks, draws, and all the cells of an image in a measurement setting."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from invsmooth.cache import Results, Store, content_key, package_key
from invsmooth.cache.store import pack, unpack
from invsmooth.core.files import write_bytes
from invsmooth.estimators.frozen import architecture, state_sha256
from invsmooth.estimators.probe import Probes
from invsmooth.evaluation.attack_sweep import AttackPlan
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import Measured
from invsmooth.records.certificate_files.format import FOLDER
from invsmooth.records.certificate_files.record import operator_sha256
from invsmooth.records.pictures import picture_file, setting_name
from invsmooth.records.rows import KEY, SCHEMA

CELLS = "cells"
ROWS = "rows.parquet"
CELL = tuple(name for name in KEY if name != "run_id")


def of_estimator(estimator: nn.Module | str, accelerator: str) -> dict[str, Any]:
    """What determines all results of an estimator; of one that is not trained yet, a name in its place."""
    known: dict[str, Any] = {"weights": estimator}
    if isinstance(estimator, nn.Module):
        known = {"weights": state_sha256(estimator), "architecture": architecture(estimator)}
    return known | {"code": package_key(), "torch": str(torch.__version__), "accelerator": accelerator}


@dataclass(frozen=True)
class CachedResult:
    """The cells of one image (or batch of images) in one setting, as they were computed before."""

    rows: list[dict[str, Any]]
    files: Mapping[str, bytes]


class ResultCache:
    """What is known of an estimator under one attack and one plan.

    Args:
        store: where it is kept.
        estimator: what :func:`of_estimator` says.
        columns: columns that all rows share, but for the run's.
        options: further settings that determine the rows and files (of the check, whether ``files`` are written).
        probes: what the estimator answers to a fixed input, for each operator and image size.
    """

    def __init__(
        self, store: Store, estimator: Mapping[str, Any], plan: CertifyPlan, attack: AttackPlan,
        columns: Mapping[str, Any], options: Mapping[str, Any], n_pictures: int, probes: Probes | None = None,
    ) -> None:  # fmt: skip
        self.results = Results(store, estimator, torch.device("cpu"))
        self.columns, self.n_pictures, self.held = dict(columns), n_pictures, ExitStack()
        self.plan, self.has_files, self.probes = plan, bool(options.get("files")), probes or {}
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
        height, width = measured.x.shape[-2:]
        probe = self.probes.get((operator, (height, width)))
        return self.results.within(measured.x.device, operator=self.operators[operator], probe=probe)

    def key(self, measured: Measured, number: int) -> str:
        """Of all cells of the images measured, which are the ``number``-th of their setting."""
        what = {"x": measured.x, "b": measured.b, "y": measured.y, "names": list(measured.names),
                "ratio": measured.setting.ratio, "sigma_b": measured.setting.sigma_b}  # fmt: skip
        return self.of(measured).key(CELLS, self.settings | what | {"pictures": number < self.n_pictures})

    def begin(self, measured: Measured, number: int, folder: Path) -> CachedResult | None:
        """The cells, if they were computed before and their files can be put into the run's ``folder``; else None, and until
        :meth:`end` no other process begins them."""
        self.end()
        store, key = self.results.store, self.key(measured, number)
        self.held.enter_context(store.once(CELLS, key))
        found, kept = None, store.get(CELLS, key)
        if kept is not None:
            try:
                found = self.checked(unpack(kept), measured, number)
                destinations(folder, found.files)
            except Exception as error:  # each way in which an entry can be wrong raises a different one
                store.distrust(CELLS, key, f"{type(error).__name__}: {error}")
                found = None
        self.results.counts[f"{CELLS} {'computed' if found is None else 'recalled'}"] += 1
        if found is not None:
            self.end()
        return found

    def checked(self, files: dict[str, bytes], measured: Measured, number: int) -> CachedResult:
        """What an entry holds, once it is what this run would have computed: the same cells, files of the same names.

        Raises: ValueError, or what the readers of Parquet, NumPy and JSON files raise.
        """
        table = pq.read_table(io.BytesIO(files.pop(ROWS, b"")))
        if not table.schema.equals(SCHEMA):
            raise ValueError("its rows have other columns")
        rows = table.to_pylist()
        cells = [tuple(row[name] for name in CELL) for row in rows]
        if sorted(cells) != sorted(self.cells(measured)):
            raise ValueError("its rows are those of other cells")
        if files.keys() != (wanted := set(self.files(measured, number))):
            raise ValueError(f"it has other files: {', '.join(sorted(files.keys() ^ wanted))}")
        for name, content in files.items():
            if name.endswith(".json"):
                record = json.loads(content)
                if not all(isinstance(record[part], dict) for part in ("estimator", "operator")):
                    raise ValueError(f"{name} is no certificate file")
            else:
                with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                    for array in arrays.files:
                        arrays[array]
        return CachedResult(rows, files)

    def cells(self, measured: Measured) -> Iterator[tuple[Any, ...]]:
        """What tells the rows of ``measured`` apart."""
        setting, plan = measured.setting, self.plan
        for image, eps, sigma, certifier in product(measured.names, plan.eps, plan.sigma, plan.certifiers):
            yield image, eps, sigma, setting.sigma_b, setting.ratio, certifier

    def files(self, measured: Measured, number: int) -> Iterator[str]:
        """The files that are written beside the rows, relative to the run's folder."""
        setting = measured.setting
        if self.has_files:
            for image in measured.names:
                stem = setting_name(image, setting.ratio, setting.sigma_b)
                yield from (f"{FOLDER}/{stem}{suffix}" for suffix in (".npz", ".json"))
        if number < self.n_pictures:
            for eps, sigma in product(self.plan.eps, self.plan.sigma):
                path = picture_file(Path(), measured.names[0], setting.ratio, setting.sigma_b, eps, sigma)
                yield path.as_posix()

    def keep(
        self, measured: Measured, number: int, rows: Iterable[Mapping[str, Any]], folder: Path, files: Iterable[Path]
    ) -> None:
        """Keep all cells of the images: rows, and files in the run's folder. Rows lose the run's columns when recalled."""
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), buffer)
        content = {f.relative_to(folder).as_posix(): f.read_bytes() for f in files} | {ROWS: buffer.getvalue()}
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
    """Write files of recalled cells to the run's folder. Raises ValueError, before anything is written: a name leads out of
    it."""
    for name, path in destinations(folder, files).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, files[name])


def destinations(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where files of these names go in the run's folder. Raises ValueError: a name leads out of it, also by a link."""
    found = {name: folder / name for name in names}
    for name, path in found.items():
        parts = PureWindowsPath(name)  # knows the separators and drives of all systems
        inside = not (parts.anchor or ".." in parts.parts or "\0" in name)
        if not inside or not path.parent.resolve().is_relative_to(folder.resolve()) or path.is_dir():
            raise ValueError(f"{name!r} is no file in the run's folder")
    return found
