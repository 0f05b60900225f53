"""One evaluation by several processes: each takes its share of the images, and the first puts the parts together.

The processes do not talk while they work, so that neither uneven shares nor an error in one of them leaves another
waiting for it: they meet once, at the end.
"""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig

from invsmooth.core.devices import starts_processes
from invsmooth.core.errors import CertificateViolation
from invsmooth.core.shards import ALL, Shard
from invsmooth.records.rows import replace_table

log = logging.getLogger(__name__)
ROWS = "results.parquet"
T = TypeVar("T")


def start_processes(trainer: DictConfig) -> Shard:
    """Start one process for each device, which runs this command up to here; returns what is this process's to do."""
    if not starts_processes(trainer.strategy, trainer.devices):
        return ALL
    fabric = L.Fabric(accelerator=trainer.accelerator, devices=trainer.devices, strategy="ddp")
    fabric.launch()
    device = [fabric.device.index] if fabric.device.type == "cuda" else 1
    # By default the others would give up the slowest process after half an hour.
    meeting = torch.distributed.new_group(backend="gloo", timeout=datetime.timedelta(days=365))
    return Shard(fabric.global_rank, fabric.world_size, device, meeting)


@dataclass(frozen=True)
class Part:
    """What a process tells the others at the end.

    Attributes:
        counts: of what it computed and recalled.
        error: what stopped it, "" if nothing did.
        violation: whether that was a refuted certificate.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    violation: bool = False


def agree(share: Shard, decide: Callable[[], T]) -> T:
    """What the first process decides, for all of them."""
    decided = [decide() if share.rank == 0 else None]
    if share.world > 1:
        torch.distributed.broadcast_object_list(decided, src=0, group=share.meeting)
    return decided[0]  # type: ignore[return-value]


def meet(share: Shard, part: Part) -> list[Part]:
    """Wait for all processes; returns the parts of all."""
    parts: list[Any] = [None] * share.world
    torch.distributed.all_gather_object(parts, part, group=share.meeting)
    return parts


def merge_rows(folder: Path, world: int, settings: Sequence[tuple[float, float]], images: Sequence[str]) -> None:
    """Put the rows of all processes into one file, in the order in which one process would have written them.

    Args:
        settings: ratio and sigma_b of each measurement setting, in order.
        images: names, in order.
    """
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
    """The counts of all parts together."""
    return dict(sum((Counter(part.counts) for part in parts), Counter[str]()))


def raise_errors(parts: Sequence[Part]) -> None:
    """Raises: CertificateViolation, or RuntimeError if something else stopped one of the processes."""
    errors = [(rank, part) for rank, part in enumerate(parts) if part.error]
    if errors:
        text = "\n".join(f"process {rank}: {part.error}" for rank, part in errors)
        raise (CertificateViolation if all(part.violation for _, part in errors) else RuntimeError)(text)
