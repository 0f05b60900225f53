"""Whether the parts of a run fit together: network, operators, images. Asked before any work."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import torch
from torch import nn

from invsmooth.cache.parts import is_ours
from invsmooth.core.errors import ConfigError, PremiseError
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.operators import LinearOperator
from invsmooth.operators.base import Operator, Wrapped

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

    Raises: ConfigError: an operator refuses one (ValueError), or one of the user's fails."""
    tried = sorted(sizes_of(data).items())[:MOST_SIZES]
    for operator, ((height, width), what) in product(operators, tried):
        try:
            operator.A(torch.zeros(1, data.channels, height, width))
        except Exception as error:
            if not isinstance(error, ValueError) and users_own(operator) is None:
                raise  # a bug of ours
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            raise ConfigError(f"operator: {kind}{error}. {height}×{width} is the size {what}") from error


def users_own(operator: LinearOperator) -> Any:
    """The object of the user's, maybe in our wrapper; None: the operator is ours."""
    own = operator.operator if isinstance(operator, Wrapped) else operator
    return None if is_ours(type(own)) else own
