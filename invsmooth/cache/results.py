"""Tensors that were computed before, by what determined them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from invsmooth.cache.content import content_key
from invsmooth.cache.store import Store


class Remember(Protocol):
    """Looks up what ``of`` determines, or computes and keeps it."""

    def __call__(
        self, kind: str, of: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor]: ...


def not_kept(kind: str, of: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """A :class:`Remember` that computes always."""
    return compute()


class Results:
    """A :class:`Remember` over a store.

    Args:
        base: what determines all of them: the estimator, the code, the kind of device.
        device: on which the tensors are given back.
        counts: goes on counting there; None starts anew.

    Attributes:
        counts: how many were computed, and how many recalled, of each kind.
    """

    def __init__(
        self, store: Store, base: Mapping[str, Any], device: torch.device, counts: Counter[str] | None = None
    ) -> None:
        self.store, self.base, self.device = store, dict(base), device
        self.counts: Counter[str] = Counter() if counts is None else counts

    def within(self, device: torch.device, **more: Any) -> Results:
        """Those that ``more`` determines, too; given back on ``device``."""
        return Results(self.store, self.base | more, device, self.counts)

    def key(self, kind: str, of: Mapping[str, Any]) -> str:
        return content_key({"base": self.base, "kind": kind, "of": of})

    def __call__(
        self, kind: str, of: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        if self.store.folder is None:
            return compute()
        key = self.key(kind, of)
        with self.store.once(kind, key):
            found = self.store.get(kind, key)
            if found is not None:
                self.counts[f"{kind} recalled"] += 1
                with np.load(io.BytesIO(found)) as arrays:
                    return {name: torch.from_numpy(arrays[name]).to(self.device) for name in arrays}
            computed = compute()
            buffer = io.BytesIO()
            arrays_ = {name: np.asarray(value.detach().cpu().numpy()) for name, value in computed.items()}
            np.savez(buffer, allow_pickle=False, **arrays_)
            self.store.put(kind, key, buffer.getvalue())
            self.counts[f"{kind} computed"] += 1
            return computed
