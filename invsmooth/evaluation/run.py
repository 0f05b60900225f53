"""Evaluate an estimator on the test images in Lightning's test loop, by one or several processes.

The processes do not talk while they work, so that neither uneven shards nor an error in one of them
leaves another waiting for it. They meet once, at the end, and the first one merges their rows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import lightning as L
import pyarrow as pa
import pyarrow.parquet as pq

from invsmooth.core.errors import CertificateViolation
from invsmooth.core.processes import gather
from invsmooth.core.shards import Shard
from invsmooth.core.units import to_grey_levels
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.evaluation.callback import EvaluationCallback
from invsmooth.evaluation.module import EvaluationModule
from invsmooth.records.rows import replace_table

log = logging.getLogger(__name__)
ROWS = "results.parquet"


@dataclass(frozen=True)
class Part:
    """The report of a process at the end: counts of what it computed and found cached; what stopped
    it ("": nothing), and whether that was a refuted certificate."""

    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    violation: bool = False


def evaluate(
    trainer: L.Trainer, module: EvaluationModule, data: ImageDataModule, callback: EvaluationCallback
) -> dict[str, int]:
    """Run the test loop, with ``callback``, on the shard of this process.

    Returns: how many attacks, draws and images were computed, and how many were cached.
    Raises: CertificateViolation: an attack refutes one; the rows and the evidence are written."""
    shard, counts = callback.shard, callback.cache.results.counts
    if shard.world == 1:
        trainer.test(module, datamodule=data, verbose=False)
        return dict(counts)
    images, part = data.images["test"].names, Part()
    try:
        if len(shard.numbers(len(images))):
            trainer.test(module, datamodule=data, verbose=False)
        part = Part(dict(counts))
    except Exception as error:  # told to the first process, which fails with it
        log.exception("the evaluation failed in process %d", shard.rank)
        part = Part({}, f"{type(error).__name__}: {error}", isinstance(error, CertificateViolation))
    parts = gather(shard, part)
    if shard.rank == 0:
        settings = [(s.ratio, to_grey_levels(s.sigma_b)) for s in callback.settings]
        merge_rows(callback.folder, shard.world, settings, images)
        raise_errors(parts)
    return pooled(parts)


def merge_rows(folder: Path, world: int, settings: Sequence[tuple[float, float]], images: Sequence[str]) -> None:
    """Put the rows of all processes into one file, in the order of one process: that of
    ``settings`` (ratio and sigma_b in grey levels), then that of ``images``."""
    files = [p for p in (folder / Shard(rank, world).file(ROWS) for rank in range(world)) if p.is_file()]
    if not files:
        return
    table = pa.concat_tables([pq.read_table(p) for p in files])
    at_setting = {setting: k for k, setting in enumerate(settings)}
    at_image = {name: k for k, name in enumerate(images)}
    keys = [table[name].to_pylist() for name in ("ratio", "sigma_b", "image")]
    places = [(at_setting[ratio, sigma_b], at_image[image]) for ratio, sigma_b, image in zip(*keys, strict=True)]
    # Stable: the rows of one image stay as they are.
    replace_table(folder / ROWS, table.take(sorted(range(len(places)), key=places.__getitem__)))
    for path in files:
        path.unlink()


def pooled(parts: Sequence[Part]) -> dict[str, int]:
    return dict(sum((Counter(part.counts) for part in parts), Counter[str]()))


def raise_errors(parts: Sequence[Part]) -> None:
    """Raises: CertificateViolation, or RuntimeError if something else stopped one of them."""
    if errors := [(rank, part) for rank, part in enumerate(parts) if part.error]:
        text = "\n".join(f"process {rank}: {part.error}" for rank, part in errors)
        raise (CertificateViolation if all(part.violation for _, part in errors) else RuntimeError)(text)
