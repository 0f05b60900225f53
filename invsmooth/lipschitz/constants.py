"""What an estimator and an operator declare about their Lipschitz constants, for everything that uses them.

An estimator declares, as methods of its class:

- ``lipschitz(operator) -> float``: an upper bound of the constant of y -> f(y, operator), l2 to l2;
- ``lipschitz_signal(operator) -> float``, where it has a smaller one for z -> f(Az + b) than
  ``lipschitz(operator) * operator.norm()``;
- ``inexactness(operator, y, eps) -> float``, if it computes f only approximately: rho >= ||f^(y') - f(y')|| for
  all y' within eps of any y of the batch, where f^ is the estimator in float64. Without it: 0;
- ``lipschitz_tensor(operator) -> Tensor``, for training: the constant as a scalar with a gradient in the
  weights. Without it: the number.

Each raises :class:`invsmooth.core.errors.NoConstant` where this operator gives none. An operator
declares ``norm() -> float``, an upper bound of ||A||, l2 to l2."""

from __future__ import annotations

import copy
import math
import reprlib
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.operators.base import Operator

THREATS = ("signal", "measurement")
"""Where the attack is added: xi to the signal z, or eta to the measurement y."""


def operator_norm_bound(operator: Operator) -> float:
    """A proven upper bound of ||A||. Raises: NoConstant: the operator declares none."""
    norm = getattr(operator, "norm", None)
    if not callable(norm):
        raise NoConstant(f"operator {type(operator).__name__} declares no norm() (an upper bound of ||A||)")
    return positive("the norm of the operator", norm())


def lipschitz_constant(estimator: Any, operator: Operator, threat: str = "signal") -> float:
    """A proven upper bound of the constant of y -> f(y, operator) (``threat="measurement"``) or of z -> f(Az + b)
    (``"signal"``). Raises: NoConstant: none is declared. ValueError: an unknown threat."""
    if threat not in THREATS:
        raise ValueError(f"threat={threat!r} is none of {', '.join(THREATS)}")
    f = declaring(estimator)
    if threat == "measurement":
        return positive("the constant", f.lipschitz(operator))
    if hasattr(f, "lipschitz_signal"):
        return positive("the constant", f.lipschitz_signal(operator))
    return positive("the constant", f.lipschitz(operator)) * operator_norm_bound(operator)


def inexactness(estimator: Any, operator: Operator, y: Tensor, eps: float) -> float:
    """rho, see above; ``eps``: l2 radius around each y of the batch, in the space of y."""
    f = declaring(estimator)
    return float(f.inexactness(operator, y, eps)) if hasattr(f, "inexactness") else 0.0


def training_constant(estimator: Any, operator: Operator) -> Tensor:
    """The constant for ``threat="signal"`` as a scalar tensor, with a gradient where the estimator gives one."""
    f = declaring(estimator)
    if not hasattr(f, "lipschitz_tensor"):
        return torch.tensor(lipschitz_constant(f, operator))
    return f.lipschitz_tensor(operator) * operator_norm_bound(operator)


def declaring(estimator: Any) -> Any:
    """The estimator. Raises: NoConstant: it declares none. A wrapper does not inherit that of what it wraps."""
    if not callable(getattr(estimator, "lipschitz", None)):
        raise NoConstant(f"estimator {type(estimator).__name__} has no Lipschitz constant (no method lipschitz)")
    return estimator


def positive(what: str, value: Any) -> float:
    """Raises: NoConstant: it is no finite number >= 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise NoConstant(f"{what} is declared as {reprlib.repr(value)}: it has to be a finite number >= 0")
    return number


def in_float64(module: nn.Module) -> nn.Module:
    """A copy in float64 and eval mode, without gradients: what certificates and audits evaluate."""
    return copy.deepcopy(module).double().eval().requires_grad_(False)
