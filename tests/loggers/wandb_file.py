"""Read an offline W&B run back. The format is that of LevelDB's log: blocks of 32 KiB, records split over them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER, START = 32 * 1024, 7, 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    content, position, parts = path.read_bytes(), START, b""
    assert content[:4] == b":W&B"
    while position + HEADER <= len(content):
        if BLOCK - position % BLOCK < HEADER:  # no header fits into the rest of a block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


class OfflineRun:
    """Attributes: run (name, group, …), config, history, summary, metrics (by name), artifacts (by type), exit_code."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        self.exit_code: int | None = None
        for record in records(path):
            match record.WhichOneof("record_type"):
                case "run":
                    self.run = record.run
                    self.config = nested(record.run.config.update)
                case "config":
                    nested(record.config.update, self.config)
                case "history":
                    self.history.append(nested(record.history.item))
                case "summary":
                    nested(record.summary.update, self.summary)
                case "metric":
                    self.metrics[record.metric.name or record.metric.glob_name] = record.metric
                case "artifact":
                    self.artifacts[record.artifact.type] = record.artifact
                case "exit":
                    self.exit_code = record.exit.exit_code

    def media(self, key: str) -> dict[str, Any]:
        """What was logged under ``key``: a table, pictures."""
        (found,) = [line[key] for line in self.history if key in line]
        return found

    def table(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "files" / self.media(key)["path"]).read_text())
        return found


def nested(items: Any, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """The values of items, put into ``found``. Keys lie in keys; a key of one's own may have slashes."""
    found = {} if found is None else found
    for item in items:
        *above, last = list(item.nested_key) or [item.key]
        place = found
        for name in above:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)
    return found


def offline_runs(folder: Path) -> list[OfflineRun]:
    """The runs under a run folder, in the order of their start."""
    # `latest-run` is a link to one of them.
    return [OfflineRun(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]
