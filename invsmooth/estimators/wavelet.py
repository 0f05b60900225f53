"""Denoising by wavelet shrinkage."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant
from invsmooth.core.parameters import Count, Positive
from invsmooth.estimators.wiener import mirrored, unmirrored
from invsmooth.lipschitz.norms import MARGIN
from invsmooth.lipschitz.rounding import fourier_rounding
from invsmooth.operators.base import Operator
from invsmooth.operators.identity import Identity

Name = Literal["haar", "db2", "sym4"]
ROOT2, ROOT3 = math.sqrt(2), math.sqrt(3)
LOW_PASS: dict[str, list[float]] = {
    "haar": [1 / ROOT2, 1 / ROOT2],
    "db2": [(1 + ROOT3) / (4 * ROOT2), (3 + ROOT3) / (4 * ROOT2), (3 - ROOT3) / (4 * ROOT2), (1 - ROOT3) / (4 * ROOT2)],
    "sym4": [0.032223100604042702, -0.012603967262037833, -0.099219543576847216, 0.29785779560527736,
             0.80373875180591614, 0.49761866763201545, -0.02963552764599851, -0.075765714789273325],
}  # fmt: skip
"""Scaling filters (Daubechies 1992, tables 6.1 and 6.3), of norm 1 and sum sqrt(2)."""


class WaveletShrinkage(nn.Module):
    """Soft thresholding of the wavelet coefficients, averaged over all shifts of the image (cycle spinning, Coifman and
    Donoho 1995), for A = I.

    With the orthonormal wavelet transform W and the shift S_k, x_hat is the mean over k of
    S_k^T W^T soft(W S_k y), soft(c) = sign(c) max(|c| - threshold, 0) of the details; the coarsest scale stays. The
    mean over all shifts is that of the undecimated transform F: its filters F_s are scaled by 2^-level, so that the
    sum of |F_s(w)|² over s is 1, and so are the thresholds: x_hat = F^T soft(F y). It is computed with Fourier
    transforms. The image goes on as its mirror image.

    Constant: 1. F is an isometry, F^T F = I: an orthonormal filter f has |f(w)|² + |f(w + pi)|² = 2, level by level.
    So is half the mirror. Soft thresholding is the proximal map of a convex function, and 1-Lipschitz (Moreau 1965).
    So is the whole map, for every image size, threshold and number of levels.

    Args:
        threshold: of an orthonormal transform's coefficients, [0, 1] scale; sigma_b times 1 to 1.5. 0.08 suits
            sigma_b = 15 grey levels.
        wavelet: ``"haar"``, ``"db2"`` or ``"sym4"``.
        levels: number of scales. On a small image the filters wrap around, which changes nothing above.
    Raises: ValueError: a parameter out of range."""

    def __init__(self, threshold: Positive = 0.08, wavelet: Name = "sym4", levels: Count = 3) -> None:
        super().__init__()
        if not 0 < threshold < math.inf or levels < 1:
            raise ValueError(f"threshold={threshold} has to be positive, levels={levels} at least 1")
        if wavelet not in LOW_PASS:
            raise ValueError(f"wavelet={wavelet!r} is not allowed; allowed: {', '.join(LOW_PASS)}")
        self.threshold, self.wavelet, self.levels = threshold, wavelet, levels

    def check_operator(self, operator: Operator) -> None:
        """Raises: NoConstant: A is not the identity."""
        if not isinstance(operator, Identity):
            raise NoConstant(f"wavelet is a denoiser (A = I), not for {type(operator).__name__}")

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Images like y (B, 1, H, W). Raises: NoConstant: A is not the identity."""
        self.check_operator(operator)
        image = mirrored(y)
        size = (image.shape[-2], image.shape[-1])
        along = [responses(self.wavelet, self.levels, n, image) for n in size]
        of_image = torch.fft.rfft2(image)
        half = size[1] // 2 + 1
        coarse, result = image.new_ones(1, half), torch.zeros_like(of_image)
        for level in range(self.levels):
            (low_1, high_1), (low_2, high_2) = along[0][level], along[1][level]
            for rows, columns in ((low_1, high_2), (high_1, low_2), (high_1, high_2)):
                response = coarse * rows[:, None] * columns[:half]
                details = torch.fft.irfft2(of_image * response, s=size)
                kept = torch.nn.functional.softshrink(details, self.threshold / 2 ** (level + 1))
                result = result + torch.fft.rfft2(kept) * response.conj()
            coarse = coarse * low_1[:, None] * low_2[:half]
        return unmirrored(torch.fft.irfft2(result + of_image * coarse.abs().square(), s=size))

    def lipschitz(self, operator: Operator) -> float:
        self.check_operator(operator)
        return 1 + MARGIN  # for the digits of the filters

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        """There and back for each kind of detail. The parts are orthogonal images of norm <= ||y||; they are bounded as
        if all were as large."""
        self.check_operator(operator)
        return fourier_rounding(y, eps, n_transforms=2 + 6 * self.levels)


def responses(wavelet: str, levels: int, n: int, like: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each level, low pass and high pass / sqrt(2) on the n frequencies of ``fft``, upsampled by 2^level:
    |low|² + |high|² = 1."""
    low = np.array(LOW_PASS[wavelet]) / ROOT2
    high = low[::-1] * (-1.0) ** np.arange(len(low))
    found = []
    for level in range(levels):
        # Exact integers in the exponent: the filter at the frequency 2^level k / n.
        k = np.arange(n) * 2**level % n
        waves = np.exp(-2j * np.pi * np.outer(k, np.arange(len(low))) / n)
        pair = (torch.from_numpy(waves @ f).to(like.device, like.to(torch.cdouble).dtype) for f in (low, high))
        low_pass, high_pass = (p.to(torch.complex64 if like.dtype == torch.float32 else torch.complex128) for p in pair)
        found.append((low_pass, high_pass))
    return found
