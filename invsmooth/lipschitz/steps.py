"""The layer that Lipschitz networks here are made of: a gradient step of a potential, with a proven constant."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.lipschitz.norms import conv_norm, conv_norm_tensor
from invsmooth.lipschitz.rounding import UNIT


class PotentialStep(nn.Module):
    """x - (2s/M) W^T phi(Wx) for images (B, 1, H, W), with M >= ||W||² and s in (0, 1).

    W is one convolution with zero padding. phi is odd and works on each number of a channel alone: of slope 1 up to the
    channel's threshold t, of slope c from there to r t, and constant beyond. With a in place of the least slope a step
    has c in [-a, 1]. Its Jacobian I - (2s/M) W^T D W, D diagonal with entries in [-a, 1], is symmetric with eigenvalues
    in [1 - 2s, 1 + 2sa]. So its constant is ``growth`` = 1 + 2sa. With growth 1 (a = 0) it is a gradient step of a
    convex potential, with constant 1 (Meunier et al. 2022). ``growth`` is given, and a follows from it.

    Args:
        filters, kernel: number and odd side of the filters."""

    def __init__(self, filters: int, kernel: int) -> None:
        super().__init__()
        if filters < 1 or kernel < 3 or kernel % 2 == 0:
            raise ValueError(f"filters={filters} has to be at least 1, and kernel={kernel} odd and at least 3")
        weight = torch.randn(filters, 1, kernel, kernel) / kernel
        self.weight = nn.Parameter(weight - weight.mean((2, 3), keepdim=True))  # edges are seen from the start
        self.log_threshold = nn.Parameter(torch.full((filters, 1, 1, 1), math.log(0.05)))
        self.step = nn.Parameter(torch.tensor(0.0))  # s = sigmoid(step)
        self.slope = nn.Parameter(torch.tensor(-3.0))  # c = -a + (1 + a) sigmoid(slope)
        self.range = nn.Parameter(torch.tensor(0.0))  # r = 1 + 2 exp(range)

    def forward(self, x: Tensor, growth: Tensor | float = 1.0) -> Tensor:
        norm, step = conv_norm_tensor(self.weight), self.step.double().sigmoid()
        a = (growth - 1) / (2 * step)
        c = ((1 + a) * self.slope.double().sigmoid() - a).to(x)
        r, threshold = 1 + 2 * self.range.exp(), self.log_threshold.exp()
        # In units of the threshold: phi is then the same for all channels.
        units = F.conv2d(x, self.weight / threshold, padding=self.weight.shape[-1] // 2)
        phi = (1 - c) * F.hardtanh(units) + c * r * F.hardtanh(units / r)
        back = (2 * step / norm.square()).to(x) * self.weight * threshold
        return x - F.conv_transpose2d(phi, back, padding=self.weight.shape[-1] // 2)

    @torch.no_grad()
    def rounding(self, size: float, growth: float) -> float:
        """||computed - exact|| in float64 for inputs with l2 norm at most ``size`` (Higham, Accuracy and Stability of
        Numerical Algorithms, section 3.1).

        A sum of n products in any order is off by at most n u/(1 - n u) times the sum of their absolute values, so a
        convolution by at most that times || |W| || ||x||. The thresholds cancel between the two convolutions: bounds are
        taken in units of the threshold, at its least and greatest value."""
        threshold, weight = self.log_threshold.double().exp(), self.weight.double()
        step = float(self.step.double().sigmoid())
        steepest = max(1.0, (growth - 1) / (2 * step))  # of phi, |slope|
        n = weight[0].numel() + weight.numel() + 32  # the two sums, and the arithmetic of weights and phi
        gamma = n * UNIT / (1 - n * UNIT)
        into = conv_norm((weight / threshold).abs()) * size  # bounds |W/t| |x|, and so |phi| up to its slope
        back = 2 * step / conv_norm(weight) ** 2 * conv_norm((weight * threshold).abs())
        # Error of the first sum, passed on; then of phi and the second sum; then of the difference.
        return (back * steepest * into * gamma) * 4 + 2 * UNIT * growth * size
