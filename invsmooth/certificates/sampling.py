"""Draw smoothed reconstructions f(y + A delta_k), in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from invsmooth.estimators.frozen import Estimator
from invsmooth.metrics import mse
from invsmooth.operators.base import Operator
from invsmooth.rng import smoothing_noise

PIXELS_PER_CHUNK = {"cpu": 2**19, "cuda": 2**23}
"""Network input pixels at a time where no chunk size is given: 8 images of 256 x 256 fill the cores of a CPU, and more
only costs cache; a GPU takes many."""

ImageKeys = Sequence[str | int]
"""What names each image of a batch in the noise's seed: its noise does not depend on where in which batch it stands."""


def noisy_measurements(operator: Operator, y: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """y + sigma A n for unit noise n of shape (B, S, C, H, W): shape (B·S, *y.shape[1:]), image by image."""
    repeated = y.repeat_interleave(noise.shape[1], dim=0)
    return repeated + sigma * operator.A(noise.flatten(0, 1).to(y))


def unit_noise(shape: Sequence[int], start: int, stop: int, seed: int, image_keys: ImageKeys) -> Tensor:
    """Unit noise of draws start … stop - 1 of every image, shape (B, stop - start, *shape), on the CPU."""
    return torch.stack([smoothing_noise(shape, start, stop, seed, key) for key in image_keys])


def smoothed_reconstructions(
    estimator: Estimator,
    operator: Operator,
    y: Tensor,
    *,
    sigma: float,
    n_samples: int,
    image_shape: Sequence[int],
    seed: int,
    image_keys: ImageKeys,
    chunk_size: int | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (draws, reconstructions): a slice of 0 … S - 1 and f(y + A delta_k), shape (B, len(draws), C, H, W).

    Draw k of an image depends on (seed, its key, k) and not on the chunks. Noise is added to the measurement, where a
    decoder can add it, and nothing is clamped. Where A has orthonormal rows this is the same as adding N(0, sigma²) to y.
    """
    if chunk_size is None:
        pixels = len(y) * torch.Size(image_shape).numel()
        chunk_size = max(1, PIXELS_PER_CHUNK.get(y.device.type, 2**23) // pixels)
    for start in range(0, n_samples, chunk_size):
        stop = min(start + chunk_size, n_samples)
        noise = unit_noise(image_shape, start, stop, seed, image_keys)
        x_hat = estimator(noisy_measurements(operator, y, noise, sigma), operator)
        yield slice(start, stop), x_hat.unflatten(0, (len(y), stop - start))


def smoothed_errors(
    estimator: Estimator, operator: Operator, y: Tensor, references: Sequence[Tensor], *, n_samples: int, **draws: Any
) -> Tensor:
    """MSE of each draw to each of R reference images (B, C, H, W): shape (R, B, S). Keywords as for
    :func:`smoothed_reconstructions`."""
    errors = references[0].new_empty(len(references), len(y), n_samples)
    for drawn, x_hat in smoothed_reconstructions(estimator, operator, y, n_samples=n_samples, **draws):
        for r, reference in enumerate(references):
            flat = x_hat.flatten(0, 1)
            repeated = reference.repeat_interleave(x_hat.shape[1], dim=0)
            errors[r, :, drawn] = mse(flat, repeated).unflatten(0, x_hat.shape[:2])
    return errors
