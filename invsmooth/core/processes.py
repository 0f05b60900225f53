"""Several processes that run one command together, each on its device."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import lightning as L
import torch
from lightning.fabric.utilities import rank_zero_only

from invsmooth.core.devices import starts_processes
from invsmooth.core.shards import ALL, Shard
from invsmooth.core.signals import SIGNALS

T = TypeVar("T")

STRAY = (
    "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS",
    "TORCHELASTIC_RUN_ID", "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_LOCAL_RANK", "LSB_DJOB_RANKFILE",
    "XRT_TORCH_DIST_ROOT",
)  # fmt: skip
"""Variables by which Lightning takes a process for one of several."""


@contextmanager
def alone() -> Iterator[None]:
    """In the block this process is no part of a group, whatever a cluster, a terminal inside a job or another program left
    in the environment: Lightning would write no files on a "rank" above 0, or wait for others. Also without
    ``PL_TRAINER_…``, which change Lightning's trainers."""
    names = [n for n in os.environ if n in STRAY or n.startswith("PL_TRAINER_")]
    kept, rank = {n: os.environ.pop(n) for n in names}, getattr(rank_zero_only, "rank", 0)
    setattr(rank_zero_only, "rank", 0)  # noqa: B010  (a function has no such attribute, says mypy)
    try:
        yield
    finally:
        os.environ.update(kept)
        setattr(rank_zero_only, "rank", rank)  # noqa: B010


def start_processes(accelerator: str, devices: Any, strategy: str) -> Shard:
    """Start one process for each device; each runs this command up to here. The shard of this one."""
    if not starts_processes(strategy, devices):
        return ALL
    fabric = L.Fabric(accelerator=accelerator, devices=devices, strategy="ddp")
    fabric.launch()
    # They end with this one.
    SIGNALS.children = getattr(fabric.strategy.launcher, "procs", [])
    device = [fabric.device.index] if fabric.device.type == "cuda" else 1
    # By default the others would give up the slowest process after half an hour.
    meeting = torch.distributed.new_group(backend="gloo", timeout=datetime.timedelta(days=365))
    return Shard(fabric.global_rank, fabric.world_size, device, meeting)


def agree(shard: Shard, decide: Callable[[], T]) -> T:
    """What the first process decides, for all of them."""
    decided = [decide() if shard.rank == 0 else None]
    if shard.world > 1:
        torch.distributed.broadcast_object_list(decided, src=0, group=shard.meeting)
    return decided[0]  # type: ignore[return-value]


def gather(shard: Shard, own: T) -> list[T]:
    """Wait for all processes. Returns the values that they give, by rank."""
    found: list[Any] = [None] * shard.world
    torch.distributed.all_gather_object(found, own, group=shard.meeting)
    return found
