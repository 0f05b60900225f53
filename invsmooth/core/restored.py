"""Change objects within a block and restore them afterwards, also where blocks of several threads share the objects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")


class Restored(Generic[Part]):
    """One property of objects. The first block that has an object notes its value, the last one that ends restores it.

    Args:
        get, put: read and write the property of one object."""

    def __init__(self, get: Callable[[Part], Any], put: Callable[[Part, Any], object]) -> None:
        self.get, self.put = get, put
        self.lock = threading.RLock()
        self.kept: dict[int, tuple[Any, list[None]]] = {}  # by id: the value, and an entry for each block

    @contextmanager
    def within(self, parts: Sequence[Part], value: Callable[[Part], Any]) -> Iterator[None]:
        """In the block each part has ``value(part)``."""
        entered: list[Part] = []
        try:
            with self.lock:
                for part in parts:
                    self.kept.setdefault(id(part), (self.get(part), []))[1].append(None)
                    entered.append(part)
                    self.put(part, value(part))
            yield
        finally:
            with self.lock:
                for part in entered:
                    before, blocks = self.kept[id(part)]
                    blocks.pop()
                    if not blocks:
                        del self.kept[id(part)]
                        self.put(part, before)
