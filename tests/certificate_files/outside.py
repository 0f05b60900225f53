"""A certifier and an operator as somebody else would write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from invsmooth.certificates.certifier import Smoothing
from invsmooth.certificates.percentile import Percentile
from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.operators import LinearOperator


class Cautious(Percentile):
    """``error`` with a bound that is ``factor`` times as large."""

    name = "cautious"
    reference = "x"
    declared = CertifierDeclaration(name="cautious", statement="more than the error")

    def __init__(self, factor: float = 2.0) -> None:
        self.factor = factor

    def check(self, smoothing: Smoothing) -> None:
        if self.factor < 1:
            raise ValueError(f"factor={self.factor} has to be at least 1")

    def certify(self, *arguments: Any) -> Any:
        from dataclasses import replace

        found = super().certify(*arguments)
        return replace(found, bound=self.factor * found.bound.double())

    def expected(self, record: Mapping[str, Any], *arguments: Any) -> dict[str, Any]:
        found = super().expected(record, *arguments)
        for row in found["radii"]:
            row["bound"] = row["bound"] if row["bound"] == "nan" else self.factor * row["bound"]
        return found


class EveryOther(LinearOperator):
    """Every ``step``-th row of pixels."""

    def __init__(self, step: int = 2) -> None:
        super().__init__()
        self.step = step

    def A(self, x: Tensor) -> Tensor:
        return x[..., :: self.step, :]

    def A_adjoint(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.step, dim=-2) / self.step
