"""Norms of deepinv's physics: proven ones, and an estimate by power iteration, which is a lower bound."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from invsmooth.core.errors import NoConstant
from invsmooth.core.rng import standard_normal

MARGIN = 1e-6
"""Relative; above the rounding of what deepinv keeps in single precision."""
MOST_ENTRIES = 2**25
"""Of a matrix whose norm is computed: 4096 pixels and 8192 measurements."""
AT_A_TIME = 256  # columns of it
ZERO_BEYOND = ("valid", "circular", "constant", "zeros")  # paddings for which Young's inequality holds
ITERATIONS = 100


class NotKnown(NoConstant):
    """No norm in closed form."""


def not_adjoint(name: str, apart: float, size: float) -> NoConstant:
    return NoConstant(
        f"physics {name}: A_adjoint is not the adjoint of A ({apart:.3g} apart, size {size:.3g}), so no constant of a "
        "network with A^T is proven"
    )


def known_norm(physics: Any) -> float:
    """An upper bound of ||A|| in closed form. By the exact class, since a class derived from it may compute something else.

    - ``Denoising``, ``Inpainting``, ``Demosaicing``, ``MRI``, ``BlurFFT``: A = U diag(mask) V^T with orthonormal U and V:
      the largest |mask|.
    - ``Blur``: Young's inequality, the sum of |filter|. ``Downsampling``: :func:`decimated`. Not with reflected or
      replicated borders.

    Raises: NotKnown: another class, padding, or no filter yet."""
    kind = type(physics)
    where, name = kind.__module__.partition(".")[0], kind.__name__
    if where == "deepinv" and name in ("Denoising", "Inpainting", "Demosaicing", "MRI", "BlurFFT"):
        if physics.mask is None:
            raise NotKnown(f"physics {name} has no mask or filter yet, and so no norm")
        return float(torch.as_tensor(physics.mask).detach().double().abs().max()) * (1 + MARGIN)
    if where == "deepinv" and name in ("Blur", "Downsampling"):
        if physics.filter is None:
            if name == "Downsampling":
                return 1.0  # a part of the pixels
            raise NotKnown(f"physics {name} has no filter yet, and so no norm")
        if physics.padding in ZERO_BEYOND:
            factor = physics.factor if name == "Downsampling" and whole(physics) else 1
            return decimated(physics.filter, factor) * (1 + MARGIN)
        raise NotKnown(f"physics {name} with padding={physics.padding} has no norm in closed form")
    raise NotKnown(f"physics {name} has no norm in closed form")


def whole(physics: Any) -> bool:
    """Whether the images of a Downsampling are whole multiples of its factor: borders of another size are not periodic."""
    return physics.imsize is not None and all(side % physics.factor == 0 for side in physics.imsize[-2:])


def decimated(kernel: Tensor, factor: int) -> float:
    """An upper bound of the norm of a convolution of which every ``factor``-th output is kept on both axes. A A^T is the
    convolution with the kernel's correlation with itself at multiples of the factor. By Young's inequality its norm is at
    most the sum of their absolute values: of the squared sums of |filter| over the factor² positions. Largest over the
    planes (…, h, w), each the filter of one channel."""
    planes = kernel.detach().double().abs().flatten(0, -3)
    sums = [planes[:, i::factor, j::factor].sum((1, 2)) for i in range(factor) for j in range(factor)]
    return float(torch.stack(sums).square().sum(0).max()) ** 0.5


@torch.no_grad()
def dense_norm(operator: Any) -> float:
    """The largest singular value of the matrix of a :class:`~invsmooth.operators.DeepInv` in float64. A^T is compared with
    it, entry by entry: the result bounds both ||A|| and the norm of what ``A_adjoint`` computes.
    Raises: NoConstant: the size of its images is not known, the matrix is too large, or A^T is not the adjoint."""
    name, shape = type(operator.made).__name__, operator.image_shape
    other = "give operator.bound=NUMBER, an upper bound of ||A|| that you can prove"
    if shape is None:
        raise NoConstant(f"physics {name} does not say the size of its images, so no norm is computed; {other}")
    y = operator.A(operator.zeros())
    n, m = math.prod(shape), y.numel()
    if n * m > MOST_ENTRIES:
        raise NoConstant(f"physics {name}: a matrix of {m} × {n} is too large to compute its norm; {other}")
    forth = columns(operator.A, n, shape, y)  # (n, m)
    back = columns(operator.A_adjoint, m, tuple(y.shape[1:]), y)  # (m, n)
    apart, size = float((forth - back.T).norm()), float(forth.norm())
    if not apart <= MARGIN * size:
        raise not_adjoint(name, apart, size)
    gram = forth.T @ forth if m <= n else forth @ forth.T
    largest = float(torch.linalg.eigvalsh(gram)[-1].clamp_min(0)) ** 0.5
    return (largest + apart) * (1 + MARGIN)


@torch.no_grad()
def check_adjoint(operator: Any) -> None:
    """Of random images and measurements, in float64: finds mistakes, proves nothing. Raises: NoConstant: <A x, y> is not
    <x, A^T y>."""
    like = operator.zeros(4)
    x = standard_normal(tuple(like.shape), 0, "adjoint of x").to(like)
    forth = operator.A(x)
    y = standard_normal(tuple(forth.shape), 0, "adjoint of y").to(forth)
    apart = float(((forth * y).flatten(1).sum(1) - (x * operator.A_adjoint(y)).flatten(1).sum(1)).abs().max())
    if not apart <= MARGIN * (size := float(forth.norm() * y.norm())):
        raise not_adjoint(type(operator.made).__name__, apart, size)


def columns(linear: Any, count: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """The images of the unit vectors, one a row."""
    found = []
    for first in range(0, count, AT_A_TIME):
        own = range(first, min(first + AT_A_TIME, count))
        units = torch.zeros(len(own), count, dtype=like.dtype, device=like.device)
        units[range(len(own)), list(own)] = 1
        found.append(linear(units.reshape(-1, *shape)).flatten(1))
    return torch.cat(found)


@torch.no_grad()
def power_iteration(operator: Any) -> float:
    """||A x|| / ||x|| of an image that power iterations on A^T A make: a lower bound of ||A||, often tight to a percent."""
    v = standard_normal(tuple(operator.zeros().shape), 0, "operator norm").to(operator.zeros())
    value = 0.0
    for _ in range(ITERATIONS):
        v = v / v.norm()
        w = operator.A(v)
        if (value := float(w.norm())) == 0:
            break
        v = operator.A_adjoint(w)
    return value
