"""Accuracy against stability: a lower bound of the constant of every method that reconstructs given images well.

Let f reconstruct x1 and x2 from y = Ax + b, with the same b, with errors ||f(y1) - x1|| = e1 and e2. By the triangle
inequality ||f(y1) - f(y2)|| >= ||x1 - x2|| - e1 - e2, and ||y1 - y2|| = ||A(x1 - x2)||. So the constant of
y -> f(y) is

    L >= (||x1 - x2|| - e1 - e2) / ||A(x1 - x2)||,

and at least the largest of these over all pairs of images. Source: Gottschling, Antun, Adcock and Hansen, The
troublesome kernel (SIAM Review 2025)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from invsmooth.lipschitz.constants import in_float64
from invsmooth.operators.base import Operator
from invsmooth.operators.block_gaussian import BlockGaussian

CHUNK = 1024  # images that are compared with all others at a time
CANDIDATES = 64  # pairs of a chunk whose quotient is computed again, from the difference of the images
SAME = 1e-5  # images nearer than this to each other, relative, are left out: their difference is rounding
UNSEEN = 1e-12  # ||A d|| below this share of ||d|| counts as 0


@dataclass(frozen=True)
class Frontier:
    """The lower bound over PSNR.

    Attributes:
        psnr: dB; inf for exact reconstructions.
        constants: for each PSNR a lower bound of L, >= 0; inf where two images have one measurement, but lie farther
            apart than their errors.
        pairs: for each the positions of the two images that give it."""

    psnr: tuple[float, ...]
    constants: tuple[float, ...]
    pairs: tuple[tuple[int, int], ...]


def minimal_constant(images: Tensor, operator: Operator, psnr: float) -> float:
    """The least measurement-space Lipschitz constant of a method with this PSNR on each of the images.

    It holds for ANY f, linear or not, trained or not: if f reconstructs each of ``images`` from y = Ax + b (one b
    for all, whatever it is) with at least ``psnr``, then two measurements exist that f moves apart by this factor. A
    mean PSNR over the images is not enough.

    Where A measures blocks on their own, give the blocks (:func:`whole_blocks`) as images: there are more pairs of
    them. ``psnr`` is then the block PSNR, 10 log10(pixels / ||f(y) - x||²) of an image of one block, which is
    reconstructed alone.

    Args:
        images: shape (N, C, H, W), [0, 1] pixel scale.
        psnr: dB; inf for exact reconstructions.
    Raises: ValueError: fewer than two images."""
    return frontier(images, operator, [psnr]).constants[0]


@torch.no_grad()
def frontier(images: Tensor, operator: Operator, psnr: Sequence[float]) -> Frontier:
    """:func:`minimal_constant` for several PSNR values, with the pairs that attain it."""
    if len(images) < 2:
        raise ValueError(f"{len(images)} images have no pair; at least two are needed")
    exact: Any = in_float64(operator) if isinstance(operator, nn.Module) else operator
    x = images.double()
    y = torch.cat([exact.A(part).flatten(1) for part in x.split(CHUNK)])
    n_pixels = x[0].numel()
    errors = [error_norm(p, n_pixels) for p in psnr]
    best, pairs = [0.0] * len(errors), [(0, 1)] * len(errors)
    for first, distance, measured in squared_distances(x.flatten(1), y):
        for k, error in enumerate(errors):
            # The difference of squares is only good to rounding, so these are candidates.
            quotient = (distance.sqrt() - 2 * error) / measured.clamp_min(UNSEEN**2).sqrt()
            for place in quotient.flatten().topk(min(CANDIDATES, quotient.numel())).indices.tolist():
                i, j = first + place // len(x), place % len(x)
                value = -math.inf if distance.flatten()[place] == 0 else pair_constant(x[i], x[j], exact, error)
                if value > best[k]:
                    best[k], pairs[k] = value, (i, j)
    return Frontier(tuple(map(float, psnr)), tuple(best), tuple(pairs))


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Squared distances of chunks of images to all images, shape (chunk, N), between the x and between the y, with the
    number of the chunk's first image. From Gram matrices. 0 between the x of images that are the same."""
    sizes = [v.square().sum(1) for v in (x, y)]
    for first in range(0, len(x), CHUNK):
        own = slice(first, first + CHUNK)
        found = [size[own, None] + size - 2 * v[own] @ v.T for v, size in zip((x, y), sizes, strict=True)]
        same = found[0] <= SAME**2 * (sizes[0][own, None] + sizes[0])
        yield first, found[0].masked_fill(same, 0), found[1].clamp_min(0)


def pair_constant(x1: Tensor, x2: Tensor, operator: Operator, error: float) -> float:
    """(||d|| - 2 error) / ||A d|| for the images' difference d; inf for 1/0, at least 0."""
    d = (x1 - x2)[None]
    distance, measured = float(d.norm()), float(operator.A(d).norm())
    if distance <= 2 * error:
        return 0.0
    return math.inf if measured <= UNSEEN * distance else (distance - 2 * error) / measured


def error_norm(psnr: float, n_pixels: int) -> float:
    """||f(y) - x|| of a PSNR in dB, for pixels in [0, 1]."""
    return math.sqrt(n_pixels) * 10 ** (-psnr / 20)


def whole_blocks(images: Tensor, block: int) -> Tensor:
    """The blocks of images (B, 1, H, W) that lie wholly inside, as images (N, 1, block, block)."""
    if min(images.shape[-2:]) < block:
        return images.new_zeros(0, 1, block, block)
    cut = images.unfold(2, block, block).unfold(3, block, block)
    return cut.reshape(-1, 1, block, block)


def compared(images: Sequence[Tensor], operator: Operator) -> Tensor:
    """The images that pairs are made of, shape (N, C, H, W): where A measures blocks on their own, the whole blocks of
    images (B, C, H, W), else those images that have the most frequent size. N may be 0."""
    if isinstance(operator, BlockGaussian):
        return torch.cat([whole_blocks(x, operator.block) for x in images])
    shapes = [x.shape[1:] for x in images]
    return torch.cat([x for x in images if x.shape[1:] == max(shapes, key=shapes.count)])
