"""f^: the estimator in float64, one image at a time. What certificates by a constant are about."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.estimators.premises import Checked, checked
from invsmooth.lipschitz.constants import declaring, in_float64
from invsmooth.operators.base import Operator


class Precise:
    """Estimator and operator in float64 (copies, in eval mode). Single precision measurements are exact in it.

    Raises: NoConstant: the estimator declares none, or is no torch module that could be converted."""

    def __init__(self, estimator: Any, operator: Operator) -> None:
        inner = estimator.estimator if isinstance(estimator, Checked) else estimator
        declaring(inner)
        if not isinstance(inner, nn.Module):
            raise NoConstant(f"estimator {type(inner).__name__} is no torch module: it has no copy in float64")
        self.estimator: nn.Module = in_float64(inner)
        self.operator: Any = in_float64(operator) if isinstance(operator, nn.Module) else operator

    def __call__(self, y: Tensor, x: Tensor | None = None) -> Tensor:
        """f^(y), shape (B, C, H, W), float64. An image on its own cannot depend on others of its batch.

        Raises: PremiseError: as :func:`invsmooth.estimators.premises.checked`. NoConstant: it answers in single
            precision all the same."""
        y, found = y.double(), []
        with torch.no_grad():
            for i in range(len(y)):
                own = None if x is None else x[i : i + 1].double()
                known = checked(self.estimator, self.operator, y[i : i + 1], own, alone=False)
                found.append(known.x_hat)
        if any(x_hat.dtype != torch.float64 for x_hat in found):
            name = type(self.estimator).__name__
            raise NoConstant(f"estimator {name} answers in {found[0].dtype} where its weights and y are in float64")
        return torch.cat(found)
