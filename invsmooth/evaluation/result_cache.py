"""The cached results of an evaluation: attacks, draws, rows and files."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import nn

from invsmooth.cache import Results, Store, package_key
from invsmooth.cache.parts import identity
from invsmooth.cache.store import pack, unpack
from invsmooth.core.devices import resolved
from invsmooth.core.files import write_bytes
from invsmooth.core.units import grey_or_none, to_grey_levels
from invsmooth.estimators.frozen import architecture, state_sha256
from invsmooth.estimators.probe import Probes
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import Measured
from invsmooth.records.certificate_files.format import FOLDER
from invsmooth.records.pictures import picture_file, setting_name
from invsmooth.records.rows import KEY, Declared, to_table

CELLS = "cells"
ROWS = "rows.parquet"
CELL = tuple(name for name in KEY if name != "run_id")


def of_estimator(estimator: nn.Module | str, accelerator: str) -> dict[str, Any]:
    """What determines all results of an estimator; for one not trained yet, a name in its place."""
    known: dict[str, Any] = {"weights": estimator}
    if isinstance(estimator, nn.Module):
        known = {"weights": state_sha256(estimator), "architecture": architecture(estimator)}
    device = resolved(accelerator)  # auto is another one on another machine
    return known | {"code": package_key(), "torch": str(torch.__version__), "accelerator": device}


@dataclass(frozen=True)
class ImageOutput:
    """What is written of a batch in one setting: rows, and files by names in the run's folder."""

    rows: list[dict[str, Any]]
    files: Mapping[str, bytes]


class ResultCache:
    """The cached results of an estimator under one evaluation.

    Args:
        store: of all cached results.
        estimator: see :func:`of_estimator`.
        columns: the columns that are the same in all rows; a cached image gets those of this run.
        declared: by the parts behind the rows.
        probes: the estimator's answers to a fixed input, for each operator and image size."""

    def __init__(
        self, store: Store, estimator: Mapping[str, Any], evaluation: Evaluation, columns: Mapping[str, Any],
        declared: Declared, probes: Probes | None = None,
    ) -> None:  # fmt: skip
        self.results = Results(store, estimator, torch.device("cpu"))
        self.evaluation, self.columns, self.declared, self.probes = evaluation, dict(columns), declared, probes or {}
        self.operators: dict[LinearOperator, dict[str, Any]] = {}
        shared = {k: v for k, v in self.columns.items() if k != "run_id"}
        self.settings = {"evaluation": evaluation.content(), "columns": shared}

    def of(self, measured: Measured) -> Results:
        """The attacks, errors and moments of draws of these measurements."""
        operator = measured.setting.operator
        if operator not in self.operators:  # the hash of a large matrix takes longer than a small network
            self.operators[operator] = identity(operator) | {"sha256": operator.sha256()}
        height, width = measured.x.shape[-2:]
        probe = self.probes.get((operator, (height, width)))
        return self.results.within(
            measured.x.device, operator=self.operators[operator], probe=probe, precision=self.evaluation.precision
        )

    def key(self, measured: Measured, number: int) -> str:
        """Of the rows and files of images that are the ``number``-th of their setting."""
        what = {"x": measured.x, "b": measured.b, "y": measured.y, "names": list(measured.names),
                "ratio": measured.setting.ratio, "sigma_b": measured.setting.sigma_b}  # fmt: skip
        return self.of(measured).key(CELLS, self.settings | what | {"pictures": number < self.evaluation.pictures})

    def has(self, measured: Measured, number: int) -> bool:
        return self.results.store.has(CELLS, self.key(measured, number))

    @contextmanager
    def image(self, measured: Measured, number: int, folder: Path) -> Iterator[ImageOutput | None]:
        """The rows and files, if they are cached and can be written to the run's ``folder``; else
        None: the block has to store them, and other processes that want them wait until its end."""
        with ExitStack() as stack:
            if (found := self.find(measured, number, folder, drop=False)) is None:
                stack.enter_context(self.results.store.once(CELLS, self.key(measured, number)))
                found = self.find(measured, number, folder)
            self.results.counts[f"{CELLS} {'computed' if found is None else 'cached'}"] += 1
            yield found

    def find(self, measured: Measured, number: int, folder: Path, drop: bool = True) -> ImageOutput | None:
        """What is cached. An entry that is not what this run would compute is dropped
        (:meth:`invsmooth.cache.Store.get`)."""
        store, key = self.results.store, self.key(measured, number)
        if (kept := store.get(CELLS, key, drop)) is None:
            return None
        try:
            found = self.checked(unpack(kept), measured, number)
            destinations(folder, found.files)
        except Exception as error:  # each way in which an entry can be wrong raises a different one
            if drop:
                store.distrust(CELLS, key, f"{type(error).__name__}: {error}")
            return None
        return found

    def put(self, measured: Measured, number: int, output: ImageOutput) -> None:
        buffer = io.BytesIO()
        pq.write_table(to_table(output.rows, self.declared), buffer)
        packed = pack({**output.files, ROWS: buffer.getvalue()})
        self.results.store.put(CELLS, self.key(measured, number), packed)

    def checked(self, files: dict[str, bytes], measured: Measured, number: int) -> ImageOutput:
        """An entry, once it has the cells and files that this run would compute.

        Raises: ValueError, or what the readers of Parquet, NumPy and JSON files raise."""
        table = pq.read_table(io.BytesIO(files.pop(ROWS, b"")))
        if not table.schema.equals(self.declared.schema):
            raise ValueError("its rows have other columns")
        rows = table.to_pylist()
        if Counter(tuple(row[name] for name in CELL) for row in rows) != Counter(self.cells(measured)):
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
                    dict(arrays)  # reads them all
        return ImageOutput([row | self.columns for row in rows], files)

    def cells(self, measured: Measured) -> Iterator[tuple[Any, ...]]:
        setting, sigma_b = measured.setting, to_grey_levels(measured.setting.sigma_b)
        for image, (eps, sigma) in product(measured.names, self.evaluation.cells):
            for certifier in self.evaluation.certifiers_in(sigma):
                yield image, eps, grey_or_none(sigma), sigma_b, setting.ratio, certifier.name

    def files(self, measured: Measured, number: int) -> Iterator[str]:
        """The names of the files beside the rows, relative to the run's folder."""
        at = measured.setting.ratio, to_grey_levels(measured.setting.sigma_b)
        if self.evaluation.files:
            for image in measured.names:
                yield from (f"{FOLDER}/{setting_name(image, *at)}{suffix}" for suffix in (".npz", ".json"))
        if number < self.evaluation.pictures:
            for eps, sigma in self.evaluation.cells:
                yield picture_file(Path(), measured.names[0], *at, eps, grey_or_none(sigma)).as_posix()


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Raises ValueError, before anything is written: a name leads out of the run's folder."""
    for name, path in destinations(folder, files).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, files[name])


def destinations(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """Where files go. Raises ValueError: a name leads out of the run's folder, also by a link."""
    found = {name: folder / name for name in names}
    for name, path in found.items():
        parts = PureWindowsPath(name)  # knows the separators and drives of all systems
        inside = not (parts.anchor or ".." in parts.parts or "\0" in name)
        if not inside or not path.parent.resolve().is_relative_to(folder.resolve()) or path.is_dir():
            raise ValueError(f"{name!r} is no file in the run's folder")
    return found
