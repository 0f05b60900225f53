"""Cached tensors, by what determines them."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from invsmooth.cache.content import content_key
from invsmooth.cache.store import Store

if TYPE_CHECKING:  # verify needs the keys of this package, and no torch
    import torch
    from torch import Tensor

Tensors: TypeAlias = "Mapping[str, Tensor]"


@dataclass(frozen=True)
class Like:
    """What a cached tensor has to be."""

    shape: tuple[int | None, ...] = ()  # None for an axis of any length
    dtype: torch.dtype | None = None  # None for any floating-point type
    finite: bool = True

    def problem(self, name: str, value: Tensor) -> str:
        """How ``value`` differs; "" if it does not."""
        pairs = zip(self.shape, value.shape, strict=False)
        if len(value.shape) != len(self.shape) or any(n not in (None, m) for n, m in pairs):
            return f"{name} has the shape {tuple(value.shape)} instead of {self.shape}"
        if value.dtype != self.dtype if self.dtype else not value.is_floating_point():
            return f"{name} is {value.dtype} instead of {self.dtype or 'floating point'}"
        return f"{name} is not finite" if self.finite and not bool(value.isfinite().all()) else ""


Expected = Mapping[str, Like]  # the tensors of a result, by name


class Remember(Protocol):
    """Returns the cached result that ``of`` determines, or computes and caches it. A cached result
    that is not as ``expected`` is computed again; None expects nothing."""

    def __call__(
        self, kind: str, of: Mapping[str, Any], compute: Callable[[], Tensors], expected: Expected | None = None
    ) -> Tensors: ...


def not_kept(
    kind: str, of: Mapping[str, Any], compute: Callable[[], Tensors], expected: Expected | None = None
) -> Tensors:
    """A :class:`Remember` that always computes."""
    return compute()


class Results:
    """A :class:`Remember` over a store, with results on ``device``. ``base`` determines all of them:
    estimator, code, kind of device. ``counts``: how many of each kind were computed, and cached."""

    def __init__(
        self, store: Store, base: Mapping[str, Any], device: torch.device, counts: Counter[str] | None = None
    ) -> None:
        self.store, self.base, self.device = store, dict(base), device
        self.counts: Counter[str] = Counter() if counts is None else counts

    def within(self, device: torch.device, **more: Any) -> Results:
        """Results that ``more`` determines, too, on ``device``. They share the counts."""
        return Results(self.store, self.base | more, device, self.counts)

    def key(self, kind: str, of: Mapping[str, Any]) -> str:
        return content_key({"base": self.base, "kind": kind, "of": of})

    def __call__(
        self, kind: str, of: Mapping[str, Any], compute: Callable[[], Tensors], expected: Expected | None = None
    ) -> Tensors:
        if self.store.folder is None:
            return compute()
        key = self.key(kind, of)
        if (found := self.cached(kind, key, expected, drop=False)) is None:
            with self.store.once(kind, key):
                if (found := self.cached(kind, key, expected)) is None:
                    computed = compute()
                    self.store.put(kind, key, to_bytes(computed))
                    self.counts[f"{kind} computed"] += 1
                    return computed
        self.counts[f"{kind} cached"] += 1
        return {name: value.to(self.device) for name, value in found.items()}

    def cached(self, kind: str, key: str, expected: Expected | None, drop: bool = True) -> Tensors | None:
        """The cached result, if it is as expected. Anything else is dropped (:meth:`Store.get`)."""
        import torch

        content = self.store.get(kind, key, drop)
        if content is None:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            if expected is not None and found.keys() != expected.keys():
                names, wanted = (", ".join(sorted(some)) for some in (found, expected))
                raise ValueError(f"it has {names or 'nothing'} instead of {wanted}")
            if problems := [p for name, like in (expected or {}).items() if (p := like.problem(name, found[name]))]:
                raise ValueError("; ".join(problems))
        except Exception as error:  # numpy raises many kinds
            if drop:
                self.store.distrust(kind, key, f"{type(error).__name__}: {error}")
            return None
        return found


def to_bytes(tensors: Tensors) -> bytes:
    buffer = io.BytesIO()
    arrays = {name: np.asarray(value.detach().cpu().numpy()) for name, value in tensors.items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
