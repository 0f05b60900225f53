"""Certifiers without draws, and those that certify the estimator itself, for sure."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from invsmooth.certificates.certifier import Certifier, Smoothing, Use

if TYPE_CHECKING:
    from torch import Tensor

    from invsmooth.certificates.certificate import Certificate
    from invsmooth.certificates.draws import Draws
    from invsmooth.estimators.frozen import Estimator
    from invsmooth.operators.base import Operator


class WithoutDraws(Certifier):
    """A certifier that takes no draws of its own."""

    truth_evals = 0

    def why_impossible(self, ratio: float, smoothing: Smoothing) -> str:
        return ""

    def stops(self, each: Smoothing) -> tuple[int, ...]:
        return ()

    def n_draws(self, each: Smoothing) -> int:
        return 0

    def uses(self, draws: Draws, x: Tensor | None, each: Smoothing) -> list[Use]:
        return []


class Deterministic(WithoutDraws):
    """A subclass declares ``smooths=False`` and defines :meth:`without_draws`. It is asked once for
    each measurement, whatever the sigmas; its rows have none, and confidence 1."""

    def over_eps(self, how: str, *, apart: bool | None = None) -> str:
        return "none"  # nothing can fail

    def each(self, smoothing: Smoothing, n_radii: int, *, apart: bool | None = None) -> Smoothing:
        return replace(smoothing, sigma=math.nan, n_samples=0, confidence=1.0, simultaneous="none")

    def joint_over_eps(self, each: Smoothing) -> bool:
        return True

    @abstractmethod
    def without_draws(self, estimator: Estimator, operator: Operator, y: Tensor, x: Tensor | None,
                      eps: Sequence[float]) -> Certificate:  # fmt: skip
        """Certify the reconstruction of each measurement at every radius; arguments as :meth:`certify`."""

    def certify(self, draws: Draws, shown: Tensor, x: Tensor | None, eps: Sequence[float],
                each: Smoothing) -> Certificate:  # fmt: skip
        return self.without_draws(draws.estimator, draws.operator, draws.y, x, eps)
