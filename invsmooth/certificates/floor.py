"""A floor of the PSNR under every attack that needs no clean image: split conformal calibration and a Lipschitz constant.

Let e_1, …, e_n be the error norms ||f(y_i) - x_i|| of calibration images that f was not fitted to, and e that of a new
image. If the n + 1 images, each with its noise, are exchangeable, then e <= q with probability at least 1 - alpha, where
q is the ceil((1 - alpha)(n + 1))-th smallest of e_1, …, e_n (Vovk et al. 2005; Angelopoulos and Bates 2023).
This is the error without an attack; an attack moves e, and plain conformal prediction fails. But f has the constant L:
||f(y_{x+xi}) - x|| <= e + L eps for EVERY ||xi|| <= eps. One event, e <= q, covers all of them, so that

    P(||f(y_{x+xi}) - x|| <= q + L eps + 2 rho for every ||xi|| <= eps) >= 1 - alpha

over the draw of the calibration images and of the new one, whatever the attacker knows of either. rho is that of the
certifier ``lipschitz``. The probability is that of one new image, not of several together.

An error norm grows with the size of the image: images of different sizes are not exchangeable. So each size is calibrated
on its own, and a size without enough calibration images has no floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from invsmooth.core.declarations import Column

COLUMNS = (
    Column(
        "psnr_floor", "dB", "PSNR that every attack leaves, known without the clean image: true of a new image with the "
        "probability in floor_confidence. Empty where no images of this size and setting calibrated.",
        heading="PSNR floor", digits=".2f", certified=True,
    ),
    Column("floor_confidence", "", "Probability of psnr_floor, over calibration images and the new one."),
)  # fmt: skip
"""Of the certifier whose constant it takes."""


def conformal_rank(n: int, alpha: float) -> int | None:
    """ceil((1 - alpha)(n + 1)), 1-based; None if it exceeds ``n``. Raises: ValueError: alpha outside (0, 1), or n < 0."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha} has to be in (0, 1); write 0.1 for a probability of 90 %")
    if n < 0:
        raise ValueError(f"n={n} has to be at least 0")
    rank = math.ceil(confidence_of(alpha) * (n + 1))
    return rank if rank <= n else None


def fewest(alpha: float) -> int:
    """The least number of calibration images that give a floor."""
    return math.ceil(confidence_of(alpha) / (1 - confidence_of(alpha)))


def confidence_of(alpha: float) -> Fraction:
    """1 - alpha. In floating point (1 - 0.7) · 10 exceeds 3, and the rank would be 4."""
    return 1 - Fraction(alpha).limit_denominator(10**9)


def calibrated(errors: Sequence[float], alpha: float) -> float | None:
    """The q that the error norm of a new image of the same size exceeds with probability at most ``alpha``.

    Args:
        errors: ||f(y) - x|| of the calibration images, l2 over one whole image, pixels in [0, 1]; inf is allowed.
    Returns: None if there are too few (:func:`fewest`).
    Raises: ValueError: alpha outside (0, 1), or an error that is negative or nan."""
    if not all(e >= 0 for e in errors):
        raise ValueError(f"the error norms of the calibration images have to be numbers >= 0, not {list(errors)}")
    rank = conformal_rank(len(errors), alpha)
    return None if rank is None else sorted(errors)[rank - 1]


def psnr_floor(error: float, constant: float, eps: float, rho: float, n_pixels: int) -> float:
    """The PSNR in dB of an image whose error norm is ``error`` + ``constant`` · ``eps`` + 2 ``rho``.

    Clipping the reconstruction to [0, 1] leaves no larger error, since x is in [0, 1]. So this is a floor of the PSNR that
    tables show, too.

    Args:
        error: of :func:`calibrated`.
        constant: L of f, in the space of the attack. eps: l2 norm of the attack. rho: see
            :mod:`invsmooth.lipschitz.constants`.
        n_pixels: of one image.
    Raises: ValueError: a negative or nan argument, or no pixels."""
    if n_pixels < 1 or not all(v >= 0 for v in (error, constant, eps, rho)):
        wrong = f"error={error}, constant={constant}, eps={eps}, rho={rho}, n_pixels={n_pixels}"
        raise ValueError(f"{wrong}: all have to be >= 0, and n_pixels at least 1")
    worst = error + constant * eps + 2 * rho
    return 10 * math.log10(n_pixels) - 20 * math.log10(worst) if worst > 0 else math.inf
