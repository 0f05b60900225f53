"""What a search says about a declared constant, and whether ours proves it."""

from __future__ import annotations

from typing import Any

from torch import nn

from invsmooth.cache.parts import is_ours
from invsmooth.operators.base import Wrapped

REFUTED, PROVEN, NOT_REFUTED, NO_CONSTANT = "refuted", "proven", "not refuted", "no constant declared"


def is_proven(estimator: nn.Module, operator: nn.Module) -> bool:
    """Whether a declared constant is computed by our proofs: every module of both is a class of ours, or of torch.

    A class from outside may inherit ``lipschitz`` from ours and compute something else, or wrap one of ours."""
    return all(known(module) for part in (estimator, operator) for module in part.modules())


def known(module: nn.Module) -> bool:
    kind: Any = type(module)
    return (is_ours(kind) and not isinstance(module, Wrapped)) or kind.__module__.split(".")[0] == "torch"


def verdict(lower_bound: float, declared: float | None, claim: float | None, proven: bool) -> str:
    """REFUTED: the search found more than ``declared``, or than ``claim``. PROVEN: ``declared`` is ours, and the claim,
    if there is one, is not smaller. NOT_REFUTED: neither. NO_CONSTANT: there was nothing to refute."""
    tested = [value for value in (declared, claim) if value is not None]
    if not tested:
        return NO_CONSTANT
    if lower_bound > min(tested):
        return REFUTED
    return PROVEN if proven and declared == min(tested) else NOT_REFUTED
