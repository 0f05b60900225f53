"""Models of deepinv (https://deepinv.github.io) as estimators, and ours as models of deepinv."""

from __future__ import annotations

import copy
import inspect
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from invsmooth.core.deepinv_install import INSTALL
from invsmooth.core.errors import PremiseError
from invsmooth.core.parameters import NotNegative
from invsmooth.operators.base import LinearOperator, Operator, as_operator
from invsmooth.operators.deepinv import DeepInv, is_physics


class DeepInvModel(nn.Module):
    """A reconstructor of deepinv, ``model(y, physics)``, or one of its denoisers, ``model(y, sigma)``.

    A reconstructor gets the physics of ``operator=deepinv``, and of any other operator a LinearPhysics with its A and
    A_adjoint. Each call is for itself, also of what begins where its last call ended (TVDenoiser, TGVDenoiser).

    Args:
        model: an object of deepinv, or of a class derived from its Reconstructor or Denoiser.
        sigma: standard deviation of the noise, pixels in [0, 1] (15 grey levels are 15/255): for a denoiser its second
            argument, for a reconstructor that of ``physics.noise_model``. None: what the physics says, or nothing.
    Raises: ValueError: no such model. In a call, PremiseError: an answer that is no real image."""

    def __init__(self, model: nn.Module, sigma: NotNegative | None = None) -> None:
        super().__init__()
        models = deepinv("models")
        if not isinstance(model, models.Reconstructor | models.Denoiser):
            kind = f"{type(model).__module__}.{type(model).__qualname__}"
            raise ValueError(f"{kind} is no Reconstructor and no Denoiser of deepinv; try estimator=custom")
        self.method, self.sigma = model, sigma  # the name that weights of other adapted networks have, too
        self.denoises = isinstance(model, models.Denoiser)
        if self.denoises and sigma is None and needs_level(model):
            name = type(model).__name__
            raise ValueError(f"{name} takes a noise level: give sigma (estimator.sigma), with pixels in [0, 1]")

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        model = self.method
        for part in model.modules():
            if "restart" in vars(part):
                part.restart = True
        if self.denoises:
            found = model(y) if self.sigma is None else model(y, self.sigma)
        else:
            native = operator.native(y) if isinstance(operator, DeepInv) else y
            found = model(native, physics_of(operator, y, self.sigma))
        if not isinstance(found, Tensor):
            raise PremiseError(f"{type(self.method).__name__} answers with a {type(found).__name__}, not with images")
        return operator.real_part(found) if isinstance(operator, DeepInv) and not self.denoises else found


def needs_level(model: nn.Module) -> bool:
    """Whether its second parameter has no default."""
    second = list(inspect.signature(model.forward).parameters.values())[1:2]
    return bool(second) and second[0].default is second[0].empty and second[0].kind is second[0].POSITIONAL_OR_KEYWORD


def physics_of(operator: Operator, like: Tensor, sigma: float | None = None) -> Any:
    """An operator as a physics of deepinv: its own, or a LinearPhysics, which has A_dagger, prox_l2 and the like.

    Args:
        like: on the device of which it is.
        sigma: of its Gaussian noise model; None: what it has, of operators of ours none."""
    noise = None if sigma is None else deepinv("physics").GaussianNoise(sigma).to(like.device)
    known: Any = operator.made if isinstance(operator, DeepInv) else operator
    if not is_physics(known):
        given = {} if noise is None else {"noise_model": noise}
        return deepinv("physics").LinearPhysics(
            A=lambda x, **_: operator.A(x), A_adjoint=lambda y, **_: operator.A_adjoint(y), device=like.device, **given
        )
    if noise is None:
        return known
    twin = copy.copy(known)
    twin._modules = dict(known._modules)  # which a copy shares
    twin.noise_model = noise
    return twin


def to_deepinv(estimator: nn.Module) -> Any:
    """An estimator as a Reconstructor of deepinv, ``model(y, physics)``, for its trainer, losses and metrics. Its weights
    are those of ``estimator``. Physics of deepinv are used as by ``operator=deepinv``: a network for real images answers
    with imaginary part 0 for MRI. Raises: ModuleNotFoundError: deepinv is not installed."""

    class Ours(deepinv("models").Reconstructor):  # type: ignore[misc]
        """An estimator of invsmooth."""

        def __init__(self) -> None:
            super().__init__(device=None)
            self.estimator = estimator
            self.operators: WeakKeyDictionary[Any, LinearOperator] = WeakKeyDictionary()

        def forward(self, y: Any, physics: Any, **_: Any) -> Tensor:
            operator = self.operators.get(physics)
            if operator is None:
                operator = self.operators[physics] = as_operator(physics)
            if not isinstance(operator, DeepInv):
                return self.estimator(y, operator)
            return operator.lifted(self.estimator(operator.flat(y), operator))

    return Ours()


def deepinv(part: str) -> Any:
    """A subpackage. Raises: ModuleNotFoundError: it is not installed."""
    from importlib import import_module

    try:
        return import_module(f"deepinv.{part}")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; {INSTALL}", name=error.name) from error
