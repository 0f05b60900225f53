"""Whether the parts of a run fit together: network, operators, images. Asked before any work."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable
from itertools import product

import torch
from torch import nn

from invsmooth.cache.parts import is_ours
from invsmooth.core.errors import ConfigError, PremiseError
from invsmooth.core.signals import Interrupted
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import frozen
from invsmooth.estimators.premises import checked
from invsmooth.operators import LinearOperator
from invsmooth.operators.base import Operator

MOST_SIZES = 20  # of images that operators are tried with


def check_estimator(estimator: nn.Module, operators: Iterable[Operator]) -> None:
    """Ask an estimator that declares ``check_operator(operator)`` whether it is for these operators.

    Raises: ConfigError: it is not."""
    if not callable(check := getattr(estimator, "check_operator", None)):
        return
    try:
        for operator in operators:
            check(operator)
    except PremiseError as error:
        raise ConfigError(f"estimator: {error}") from error


def check_channels(estimator: nn.Module, channels: int) -> None:
    """Raises: ConfigError: the network is for another number of channels than the images have (``data.channels``)."""
    own = getattr(estimator, "image_channels", None)
    if own is not None and own != channels:
        raise ConfigError(f"the network is for images of {own} channels, and data.channels={channels}; set it to {own}")


def sizes_of(data: ImageDataModule) -> dict[tuple[int, int], str]:
    """Height and width of the images that are loaded, and what they are for."""
    sizes: dict[tuple[int, int], str] = {}
    for split in ("val", "test"):
        if split in data.images:
            crop = data.crops[split]
            shapes = data.images[split].shapes.tolist() if crop is None else [(crop, crop)]
            sizes |= {(int(h), int(w)): f"of {split} images" for h, w in shapes}
    if "train" in data.images:
        sizes[data.patches.patch_size, data.patches.patch_size] = "of patches (task.patch_size)"
    return sizes


def check_patches(data: ImageDataModule) -> None:
    """Raises: DataError: training images are smaller than a patch; the message names them."""
    if "train" in data.images:
        data.patch_batches()


def check_sizes(operators: Iterable[LinearOperator], data: ImageDataModule) -> None:
    """Measure an empty image of the sizes (at most ``MOST_SIZES``) that training, validation and test have.

    Raises: ConfigError: an operator refuses one (ValueError)."""
    tried = sorted(sizes_of(data).items())[:MOST_SIZES]
    for operator, ((height, width), what) in product(operators, tried):
        try:
            operator.A(torch.zeros(1, data.channels, height, width))
        except ValueError as error:
            raise ConfigError(f"operator: {error}. {height}×{width} is the size {what}") from error


def check_answers(estimator: nn.Module, operator: LinearOperator, data: ImageDataModule, trains: bool) -> None:
    """Reconstruct a random image of the smallest size that the run has by a network of the user's. (Ours know their
    channels, :func:`check_channels`.) Where the run ``trains``, its weights have to get gradients.

    Raises: ConfigError: it fails, answers with something else than an image of this shape, is random, treats the images
        of a batch together, or cannot be trained."""
    own = getattr(estimator, "method", estimator)  # an adapter holds the user's network so
    if is_ours(type(own)):
        return
    size = min(sizes_of(data), key=lambda size: size[0] * size[1])
    x = torch.rand(1, data.channels, *size, generator=torch.Generator().manual_seed(0))
    y = operator.A(x)
    name, what = type(own).__name__, f"the measurement (shape {tuple(y.shape)}) of an image of shape {tuple(x.shape)}"
    try:
        with torch.random.fork_rng(devices=[]):
            with torch.no_grad(), frozen(estimator):
                x_hat = estimator(given := y.clone(), operator)
            if not torch.equal(given, y):
                raise ConfigError(f"estimator: {name} changes the measurements that it is given, in place")
            if isinstance(x_hat, torch.Tensor) and x_hat.shape != x.shape:
                raise ConfigError(f"estimator: {name} answers {what} with shape {tuple(x_hat.shape)}")
            checked(estimator, operator, y)
            if trains:
                check_gradients(estimator, operator, y)
    except PremiseError as error:
        raise ConfigError(f"estimator: {name}: {error}. Tried on {what}") from error
    except (ConfigError, Interrupted):
        raise
    except (Exception, SystemExit) as error:
        lines = [f"line {f.lineno}" for f in traceback.extract_tb(error.__traceback__) if f.filename == file_of(own)]
        where = f" ({file_of(own)}, {lines[-1]})" if lines else ""
        why = f"{type(error).__name__}: {error}{where}"
        raise ConfigError(f"estimator: {name} fails on {what}, see data.channels: {why}") from error


def file_of(network: nn.Module) -> str | None:
    try:
        return inspect.getsourcefile(type(network))
    except TypeError:  # made in a notebook
        return None


def check_gradients(estimator: nn.Module, operator: LinearOperator, y: torch.Tensor) -> None:
    """Raises: PremiseError: no weight gets a gradient."""
    trained = [p for p in estimator.parameters() if p.requires_grad]
    with frozen(estimator):
        for weight in trained:
            weight.requires_grad_()
        differentiable = estimator(y, operator).requires_grad
    if not trained or not differentiable:
        why = "its answer is cut off from them (detach, no_grad)" if trained else "requires_grad is False for all"
        raise PremiseError(f"it cannot be trained, its weights get no gradients: {why}")
