"""Networks, operators, attacks and certifiers of the user's, tried on one small random image before any work
(docs/your_network.md, docs/your_operator.md). Ours are not tried: they say what they cannot do."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.attacks import attack
from invsmooth.cache.parts import is_ours
from invsmooth.certificates.certificate import Certificate
from invsmooth.certificates.certifiers import certify_all
from invsmooth.core.errors import ConfigError, NoConstant, PremiseError
from invsmooth.core.own_error import said
from invsmooth.core.signals import Interrupted
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import frozen
from invsmooth.estimators.premises import check_finite, check_operator, checked
from invsmooth.evaluation.settings import Evaluation
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline.premises import sizes_of, users_own

ADJOINT = 1e-3  # relative difference of <Ax, Ax> and <x, A^T A x> in float32
ABOVE_NORM = 1e-4  # by how much |Ax| may be above norm() · |x|, relative


@contextmanager
def as_config_error(group: str, own: Any, fails: str, tried: str) -> Iterator[None]:
    """The program's random numbers are left as they are; any error becomes one of the config, with its place.

    Args:
        group, own: the part, and the user's object.
        fails, tried: what it was tried on, for an error of the user's code, and for one that we found."""
    name = type(own).__name__
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except PremiseError as error:
        why = str(error).removeprefix(f"{group} {name}: ")
        raise ConfigError(f"{group}: {name}: {why}. {tried}") from error
    except (ConfigError, Interrupted):
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{group}: {name} {fails}: {said(error, own)}") from error


def smallest(data: ImageDataModule) -> Tensor:
    """A random image of the smallest size that the run has, shape (1, C, H, W)."""
    height, width = min(sizes_of(data), key=math.prod)
    return torch.rand(1, data.channels, height, width, generator=torch.Generator().manual_seed(0))


def try_parts(
    settings: Sequence[Setting], estimator: nn.Module, evaluation: Evaluation, data: ImageDataModule, trains: bool
) -> None:
    """Raises: ConfigError: see the four functions that it calls."""
    operators = [s.operator for s in settings]
    try_operators(operators, data)
    try_certifiers(evaluation, operators[0], data)
    if callable(getattr(estimator, "fit", None)) and not bool(getattr(estimator, "fitted", True)):
        return  # it may not be able to answer before its fit
    try_network(estimator, operators[0], data, trains)
    try_attack(evaluation, estimator, operators[0], data)


def try_operators(operators: Iterable[LinearOperator], data: ImageDataModule) -> None:
    """Raises: ConfigError: A or its adjoint fails, answers with something else than finite tensors of a fixed shape, is
    random, not linear or changes its argument; A has no gradient; A_adjoint is not its adjoint; norm() is no upper bound."""
    for operator in operators:
        if (own := users_own(operator)) is not None:
            x = smallest(data)
            what = f"an image of shape {tuple(x.shape)}"
            with as_config_error("operator", own, f"fails on {what}", f"Tried on {what}"):
                try_operator(operator, x)


def try_operator(operator: LinearOperator, x: Tensor) -> None:
    """Raises: PremiseError: see :func:`try_operators`."""
    y = operator.A(x.clone())
    if not isinstance(y, Tensor):
        raise PremiseError(f"A answers with a {type(y).__name__}, not with a tensor")
    check_finite("A of the image", y)
    check_operator(operator, y, x.shape[1:])
    if not operator.A(x.clone().requires_grad_()).requires_grad:
        raise PremiseError("A has no gradient (detach, no_grad), which attacks and trainings need")
    back = operator.A_adjoint(y)
    if not isinstance(back, Tensor) or back.shape != x.shape:
        found = f"shape {tuple(back.shape)}" if isinstance(back, Tensor) else f"a {type(back).__name__}"
        raise PremiseError(
            f"A_adjoint answers measurements of shape {tuple(y.shape)} with {found}, not {tuple(x.shape)}"
        )
    check_finite("A_adjoint of A of the image", back)
    products = float(y.double().square().sum()), float((x.double() * back.double()).sum())
    if not abs(products[0] - products[1]) <= ADJOINT * products[0]:
        raise PremiseError(
            f"A_adjoint is not the adjoint of A: <Ax, Ax> = {products[0]:.6g}, <x, AᵀAx> = {products[1]:.6g}"
        )
    try:
        norm = operator.norm()
    except NoConstant:
        return
    least = float(y.norm() / x.norm())
    if not (isinstance(norm, int | float) and norm * (1 + ABOVE_NORM) >= least):
        raise PremiseError(f"norm() is {norm}, no upper bound of ‖A‖, which is at least {least:.6g}")


def try_network(estimator: nn.Module, operator: LinearOperator, data: ImageDataModule, trains: bool) -> None:
    """Raises: ConfigError: it fails (ours know their channels, :func:`invsmooth.pipeline.premises.check_channels`), answers
    with something else than an image of this shape, is random, treats the images of a batch together, or changes its
    argument; where the run ``trains``, also: its weights get no gradients."""
    own = getattr(estimator, "method", estimator)  # an adapter holds the user's network so
    if is_ours(type(own)):
        return
    x, weights = smallest(data), set(estimator.state_dict())
    y = operator.A(x)
    name, what = type(own).__name__, f"the measurement (shape {tuple(y.shape)}) of an image of shape {tuple(x.shape)}"
    with as_config_error("estimator", own, f"fails on {what}, see data.channels", f"Tried on {what}"):
        with torch.no_grad(), frozen(estimator):
            x_hat = estimator(given := y.clone(), operator)
        if not torch.equal(given, y):
            raise ConfigError(f"estimator: {name} changes the measurements that it is given, in place")
        if isinstance(x_hat, Tensor) and x_hat.shape != x.shape:
            raise ConfigError(f"estimator: {name} answers {what} with shape {tuple(x_hat.shape)}")
        checked(estimator, operator, y)
        if trains:
            check_gradients(estimator, operator, y)
        if made := estimator.state_dict().keys() - weights:
            raise PremiseError(
                f"it makes weights as it runs ({', '.join(sorted(made))}), with which no checkpoint can be loaded"
            )


def try_attack(evaluation: Evaluation, estimator: nn.Module, operator: LinearOperator, data: ImageDataModule) -> None:
    """Raises: ConfigError: the search of the user's fails, returns something else than :class:`invsmooth.attacks.Found`, or
    leaves the ball; its cost is no pair of whole numbers."""
    search, eps = evaluation.attack, max(evaluation.eps, default=0)
    if is_ours(type(search)) or eps == 0:
        return
    x = smallest(data)
    what = f"an image of shape {tuple(x.shape)}, eps = {eps:g}"
    with as_config_error("attack", search, f"fails on {what}", f"Tried on {what}"):
        cost = search.cost(eps, (1, 1), 1)
        if not (isinstance(cost, tuple) and len(cost) == 2 and all(isinstance(n, int) for n in cost)):
            raise PremiseError(f"cost is {cost!r}; two whole numbers are needed: forward passes, gradients")
        with warnings.catch_warnings():  # of its gradient: the network may not be trained yet
            warnings.simplefilter("ignore")
            attack(search, estimator, operator, x, eps=eps, precision="fp32")


def try_certifiers(evaluation: Evaluation, operator: LinearOperator, data: ImageDataModule) -> None:
    """Raises: ConfigError: a certifier of the user's that smooths fails on the draws of f = Aᵀ, which cost next to nothing,
    or returns something else than certificates and columns of rows."""
    for certifier in evaluation.certifiers:
        sigma, eps = max(evaluation.sigma, default=0), evaluation.radii([max(evaluation.eps, default=0)])
        if is_ours(type(certifier)) or not certifier.smooths or sigma == 0:
            continue
        x = smallest(data)
        what = f"an image of shape {tuple(x.shape)}, f = Aᵀ, sigma = {sigma:.3g}, eps = {eps[0]:g}"
        with as_config_error("certify", certifier, f"fails on {what}", f"Tried on {what}"):
            found = certify_all(
                lambda y, operator: operator.A_adjoint(y), operator, operator.A(x), [certifier], evaluation.smoothing(sigma),
                eps=eps, x=x,
            )[certifier.name]  # fmt: skip
            if not isinstance(found, Certificate):
                raise PremiseError(f"certify returned a {type(found).__name__}; a Certificate is needed")
            if tuple(found.bound.shape) != (1, 1):
                shape = tuple(found.bound.shape)
                raise PremiseError(f"the bound of 1 image at 1 radius has shape {shape}; (1, 1) is needed")
            row = certifier.row(found.at(0), 0, evaluation.units)
            if not isinstance(row, dict) or (unknown := row.keys() - {c.name for c in certifier.declared.columns}):
                given = (
                    f"columns that it does not declare: {', '.join(sorted(unknown))}" if isinstance(row, dict) else row
                )
                raise PremiseError(f"row gives {given}")


def check_gradients(estimator: nn.Module, operator: LinearOperator, y: Tensor) -> None:
    """Raises: PremiseError: no weight gets a gradient."""
    trained = [p for p in estimator.parameters() if p.requires_grad]
    with frozen(estimator):
        for weight in trained:
            weight.requires_grad_()
        differentiable = estimator(y, operator).requires_grad
    if not trained or not differentiable:
        why = "its answer is cut off from them (detach, no_grad)" if trained else "requires_grad is False for all"
        raise PremiseError(f"it cannot be trained, its weights get no gradients: {why}")
