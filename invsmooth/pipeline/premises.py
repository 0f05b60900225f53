"""Whether the parts of a run fit together: network, operators, images. Asked before any work."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import torch
from torch import nn

from invsmooth.cache.parts import is_ours
from invsmooth.core.errors import ConfigError, PremiseError
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import frozen
from invsmooth.operators import LinearOperator
from invsmooth.operators.base import Operator

OF_SHAPES = ("channel", "size", "shape", "dimension")  # words in torch's messages about shapes
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


@torch.no_grad()
def check_answers(estimator: nn.Module, operator: LinearOperator, data: ImageDataModule) -> None:
    """Reconstruct a black image of the smallest size that the run has by a network of the user's. (Ours know their channels,
    :func:`check_channels`.) What else is wrong with it is said where it happens.

    Raises: ConfigError: a layer of the network does not take images of these channels, or of this size."""
    own = getattr(estimator, "method", estimator)  # an adapter holds the user's network so
    if is_ours(type(own)):
        return
    size = min(sizes_of(data), key=lambda size: size[0] * size[1])
    y = operator.A(torch.zeros(1, data.channels, *size))
    try:
        with torch.random.fork_rng(devices=[]), frozen(estimator):
            estimator(y, operator)
    except Exception as error:
        if type(error) is not RuntimeError or not any(word in str(error) for word in OF_SHAPES):
            return
        what = f"the measurement (shape {tuple(y.shape)}) of an image of {data.channels} channels, {size[0]}×{size[1]}"
        raise ConfigError(f"estimator: {type(own).__name__} fails on {what}, see data.channels: {error}") from error
