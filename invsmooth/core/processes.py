"""Several processes that run one command together, each on its device."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

import lightning as L
import torch

from invsmooth.core.devices import starts_processes
from invsmooth.core.shards import ALL, Shard
from invsmooth.core.signals import SIGNALS

T = TypeVar("T")


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
