"""How long an image takes beside the passes of its network: noise, bounds, checks, rows, cache."""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from invsmooth.cache import Results, Store
from invsmooth.core.rng import DRAWS_PER_BLOCK, smoothing_noise
from invsmooth.estimators import MatchedFilter
from invsmooth.evaluation.image import evaluate_image
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators.measurement import Measured

log = logging.getLogger(__name__)

FEW = 5  # eps and sigma of the cells that are tried
DRAWS = 20  # of each certificate there


@functools.lru_cache(16)
def seconds_of_noise(shape: torch.Size) -> float:
    """Of the noise of a draw."""
    started = time.perf_counter()
    smoothing_noise(shape, 0, DRAWS_PER_BLOCK, 0, "plan")
    return (time.perf_counter() - started) / DRAWS_PER_BLOCK


def seconds_of_cells(evaluation: Evaluation, measured: Measured, cache: Path | None) -> float:
    """Of all cells of these images, beside the network's passes and the noise: some cells are
    computed for A^T in the network's place, with few draws, and cached in the same place. 0 if a
    part refuses that network."""
    n_cells, few = len(evaluation.cells), few_cells(evaluation, FEW)
    try:
        with tempfile.TemporaryDirectory(dir=place(cache), prefix=".plan-") as folder:
            results = Results(Store(None if cache is None else Path(folder)), {}, torch.device("cpu"))
            with silent():  # the first one imports
                evaluate_image(MatchedFilter(), measured, few_cells(evaluation, 1), number=few.pictures)
                started = time.perf_counter()
                evaluate_image(MatchedFilter(), measured, few, results, number=few.pictures)
            return (time.perf_counter() - started) * n_cells / len(few.cells)
    except Exception as error:  # parts are anyone's, and a disk may be read-only
        log.debug("the time beside the passes is not known: %s", error)
        return 0.0


@contextmanager
def silent() -> Iterator[None]:
    """What is tried is no progress, and its warnings are of another network."""
    speaks = logging.getLogger("invsmooth.evaluation")
    level = speaks.level
    speaks.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        speaks.setLevel(level)


def few_cells(evaluation: Evaluation, few: int) -> Evaluation:
    """``few`` eps and sigma, spread over the grid from its ends."""
    eps, sigma = (
        [values[round(k * (len(values) - 1) / max(1, few - 1))] for k in range(few)]
        if len(values) > few
        else list(values)
        for values in (evaluation.eps, evaluation.sigma)
    )
    return dataclasses.replace(evaluation, eps=eps, sigma=sigma, n_samples=min(DRAWS, evaluation.n_samples))


def place(cache: Path | None) -> Path | None:
    """The folder of the cache, or where it would be made."""
    return next((p for p in (cache, *cache.absolute().parents) if p.is_dir()), None) if cache else None
