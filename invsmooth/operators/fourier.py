"""Magnetic resonance imaging: some columns of the image's Fourier transform are measured."""

from __future__ import annotations

import torch
from torch import Tensor

from invsmooth.core.parameters import Probability
from invsmooth.core.rng import generator_for
from invsmooth.operators.base import LinearOperator


class Fourier(LinearOperator):
    """A x = mask · F x with the unitary two-dimensional Fourier transform F of each channel, a Cartesian mask that keeps
    whole columns (one coil), and real x: A^T y is the real part of F* (mask · y).

    y has shape (B, 2 C, H, W): the real parts, then the imaginary parts, with frequency 0 at (0, 0). The noise b, of
    independent real and imaginary parts, is in all of y; A^T takes it away from frequencies that are not measured.

    Args:
        ratio: share of the measured columns, in (0, 1]; at least one is.
        center: share of all columns that are measured around frequency 0; the others of ``ratio`` are random.
        seed: of these; with the width of the image it determines them.
    Raises: ValueError: ratio outside (0, 1]."""

    name = "fourier"
    hashed = ("center", "seed")

    def __init__(self, ratio: float = 0.25, center: Probability = 0.08, seed: int = 0) -> None:
        super().__init__()
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio={ratio} is not in (0, 1]; write ratio=0.25 for a quarter of the columns")
        self.ratio, self.center, self.seed = float(ratio), center, seed
        self.made: dict[int, Tensor] = {}

    def A(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(x, norm="ortho")
        return torch.cat([spectrum.real, spectrum.imag], dim=1) * self.mask_of(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        real, imaginary = (y * self.mask_of(y)).chunk(2, dim=1)
        return torch.fft.ifft2(torch.complex(real, imaginary), norm="ortho").real.contiguous()

    def norm(self) -> float:
        """||A||: a unitary transform, a part of its numbers, a real part; 1, as frequency 0 is measured."""
        return 1.0

    def mask_of(self, x: Tensor) -> Tensor:
        """(W,), 1 for a measured column."""
        width = x.shape[-1]
        if width not in self.made:
            self.made[width] = columns(width, self.ratio, self.center, self.seed)
        self.made[width] = self.made[width].to(x)
        return self.made[width]


def columns(width: int, ratio: float, center: float, seed: int) -> Tensor:
    count = max(1, round(ratio * width))
    nearest = torch.fft.fftfreq(width).abs().argsort(stable=True)  # frequency 0 first
    n_center = min(count, max(1, round(center * width)))
    others = generator_for(seed, "columns", width).permutation(width - n_center)[: count - n_center]
    mask = torch.zeros(width)
    mask[nearest[:n_center]] = 1
    mask[nearest[n_center:][torch.from_numpy(others)]] = 1
    return mask
