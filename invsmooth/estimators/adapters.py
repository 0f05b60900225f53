"""Turn reconstruction methods that take other arguments into estimators, ``estimator(y, operator) -> x_hat``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from invsmooth.core.errors import PremiseError
from invsmooth.estimators.frozen import modules_of
from invsmooth.operators.base import Operator

# Names, in lower case, of a parameter for the operator (deepinv's is physics) and for the noise level.
OPERATOR_NAMES = ("operator", "physics", "a", "op", "forward_operator", "forward_model", "_", "o")
SIGMA_NAMES = ("sigma", "sigma_b", "noise_level", "noise_std", "noise_sigma", "std", "level")


def as_estimator(method: nn.Module | Callable[..., Tensor], *, sigma: float | None = None) -> nn.Module:
    """A torch module that is called as ``estimator(y, operator)``, from a module or function of one of these kinds:

    - ``method(y)``: a network that knows its problem, or a denoiser.
    - ``method(y, sigma)``: a denoiser that is told the noise level.
    - ``method(y, operator)``: what it is already.

    The number of parameters without a default tells which one it is, and the name of the second one. Modules that a
    function calls are found where they can be (:func:`invsmooth.estimators.frozen.modules_of`): their weights count, and
    eval mode reaches them.

    ``sigma`` is the noise level that ``method(y, sigma)`` is told, in its own unit.
    Raises: PremiseError (a ValueError): a class, something that cannot be called, other parameters, or a ``sigma`` that
        is missing or has no use."""
    if isinstance(method, type) or not callable(method):
        raise PremiseError(f"{method!r} is no module or function; give an instance")
    kind = kind_of(method)
    if (kind == "sigma") != (sigma is not None):
        name = type(method).__name__ if isinstance(method, nn.Module) else getattr(method, "__name__", repr(method))
        raise PremiseError(
            f"{name} is told the noise level: give as_estimator(…, sigma=…)" if sigma is None else
            f"sigma={sigma:g} has no use: {name} takes no noise level"
        )  # fmt: skip
    return method if kind == "operator" and isinstance(method, nn.Module) else Adapted(method, kind, sigma)


def adapted_to_y(module: nn.Module) -> nn.Module:
    """``module`` as an estimator if it takes measurements alone, ``module(y)``; else as it is."""
    signature = inspect.signature(module.forward)
    return Adapted(module, "y", None) if takes(signature, 1) and not takes(signature, 2) else module


def takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


class Adapted(nn.Module):
    """``method`` as an estimator; see :func:`as_estimator`."""

    def __init__(self, method: Callable[..., Tensor], kind: str, sigma: float | None) -> None:
        super().__init__()
        self.method, self.kind, self.sigma = method, kind, sigma
        # A module registers itself by the assignment above.
        self.called = nn.ModuleList([] if isinstance(method, nn.Module) else modules_of(method))

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        if self.kind == "operator":
            return self.method(y, operator)
        return self.method(y) if self.kind == "y" else self.method(y, self.sigma)


class Denoiser(Adapted):
    """``method(y, sigma)`` as an estimator: ``estimator=denoiser`` of a config.

    Args:
        sigma: the noise level that ``method`` is told, in its own unit."""

    def __init__(self, method: nn.Module, sigma: float) -> None:
        super().__init__(method, "sigma", sigma)


def kind_of(method: Callable[..., Tensor]) -> str:
    """``"y"``, ``"sigma"`` or ``"operator"``: what a method takes beside y. Raises PremiseError: anything else."""
    called: Any = method.forward if isinstance(method, nn.Module) else method
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        raise PremiseError(f"{method!r} does not tell its parameters; wrap it: lambda y, operator: …") from None
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    any_number = [p.kind for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    needed = [p for p in parameters if p.default is p.empty and p.kind not in any_number]
    second = positional[1].name.lower() if len(positional) > 1 else ""
    if len(positional) >= 1 and all(p in positional[:2] for p in needed):
        if second in OPERATOR_NAMES:
            return "operator"
        if second in SIGMA_NAMES:
            return "sigma"
        if len(needed) <= 1 and inspect.Parameter.VAR_POSITIONAL not in any_number:
            return "y"
    needed_names = "(y), (y, sigma) or (y, operator) is needed, with these names; wrap it: lambda y, operator: …"
    raise PremiseError(f"{method!r} takes {signature}; {needed_names}")
