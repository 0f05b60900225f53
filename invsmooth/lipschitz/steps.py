"""The layer that Lipschitz networks here are made of: a gradient step of a potential, with a proven constant."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.lipschitz.norms import conv_norm, conv_norm_tensor
from invsmooth.lipschitz.rounding import UNIT


class PotentialStep(nn.Module):
    """x - (2s/M) W^T phi(Wx) for images (B, C, H, W), with M >= ||W||² and s in (0, 1); each channel on its own.

    W is one convolution with zero padding. Its channels form groups of ``group`` channels. phi works on each group at each
    pixel alone: phi(v) = h(|v|) v/|v| with the l2 norm |v| over the group. h has slope 1 up to the group's threshold t,
    slope c from there to r t, and is constant beyond. With a in place of the least slope a step has c in [-a, 1]. The
    Jacobian D of phi is symmetric with eigenvalues in [-a, 1]: h' along v, h(|v|)/|v| across. So that of the step,
    I - (2s/M) W^T D W, is symmetric with eigenvalues in [1 - 2s, 1 + 2sa], and its constant is ``growth`` = 1 + 2sa. With
    growth 1 (a = 0) it is a gradient step of a convex potential, with constant 1 (Meunier et al. 2022). ``growth`` is
    given, and a follows from it. With one channel to a group phi is an odd function of each number. Groups of several
    treat edges of all directions alike, as the isotropic total variation does; they pay where growth is above 1.

    Args:
        filters, kernel: number and odd side of the filters.
        group: channels of a group, a divisor of ``filters``.
    Raises: ValueError: a size out of range."""

    def __init__(self, filters: int, kernel: int, group: int = 1) -> None:
        super().__init__()
        if filters < 1 or kernel < 3 or kernel % 2 == 0:
            raise ValueError(f"filters={filters} has to be at least 1, and kernel={kernel} odd and at least 3")
        if group < 1 or filters % group:
            raise ValueError(f"group={group} has to be a divisor of filters={filters}")
        self.group = group
        weight = torch.randn(filters, 1, kernel, kernel) / kernel
        self.weight = nn.Parameter(weight - weight.mean((2, 3), keepdim=True))  # edges are seen from the start
        self.log_threshold = nn.Parameter(torch.full((filters // group, 1, 1, 1), math.log(0.05)))
        self.step = nn.Parameter(torch.tensor(0.0))  # s = sigmoid(step)
        self.slope = nn.Parameter(torch.tensor(-3.0))  # c = -a + (1 + a) sigmoid(slope)
        self.range = nn.Parameter(torch.tensor(0.0))  # r = 1 + 2 exp(range)

    def forward(self, x: Tensor, growth: Tensor | float = 1.0) -> Tensor:
        norm, step = conv_norm_tensor(self.weight), self.step.double().sigmoid()
        a = (growth - 1) / (2 * step)
        c = ((1 + a) * self.slope.double().sigmoid() - a).to(x)
        r, threshold = 1 + 2 * self.range.exp(), self.threshold()
        # In units of the threshold: phi is then the same for all groups, ((1 - c) min(1, 1/|u|) + c min(1, r/|u|)) u.
        units = F.conv2d(x.flatten(0, 1)[:, None], self.weight / threshold, padding=self.weight.shape[-1] // 2)
        groups = units.unflatten(1, (self.group, -1))  # group g is made of channels g, g + filters/group, …
        squared = groups.square().sum(1, keepdim=True)
        phi = ((1 - c) * squared.clamp(min=1).rsqrt() + c * (squared / r**2).clamp(min=1).rsqrt()) * groups
        back = (2 * step / norm.square()).to(x) * self.weight * threshold
        moved = F.conv_transpose2d(phi.flatten(1, 2), back, padding=self.weight.shape[-1] // 2)
        return x - moved.unflatten(0, x.shape[:2]).squeeze(2)

    def threshold(self) -> Tensor:
        """t of each channel (filters, 1, 1, 1)."""
        return self.log_threshold.exp().repeat(self.group, 1, 1, 1)

    @torch.no_grad()
    def rounding(self, size: float, growth: float) -> float:
        """||computed - exact|| in float64 for inputs with l2 norm at most ``size`` (Higham, Accuracy and Stability of
        Numerical Algorithms, section 3.1).

        A sum of n products in any order is off by at most n u/(1 - n u) times the sum of their absolute values, so a
        convolution by at most that times || |W| || ||x||. The thresholds cancel between the two convolutions: bounds are
        taken in units of the threshold, at its least and greatest value."""
        threshold, weight = self.threshold().double(), self.weight.double()
        step = float(self.step.double().sigmoid())
        steepest = max(1.0, (growth - 1) / (2 * step))  # of phi, |slope|
        n = weight[0].numel() + weight.numel() + self.group + 32  # the two sums, and the arithmetic of weights and phi
        gamma = n * UNIT / (1 - n * UNIT)
        into = conv_norm((weight / threshold).abs()) * size  # bounds |W/t| |x|, and so |phi| up to its slope
        back = 2 * step / conv_norm(weight) ** 2 * conv_norm((weight * threshold).abs())
        # Error of the first sum, passed on; then of phi and the second sum; then of the difference.
        return (back * steepest * into * gamma) * 4 + 2 * UNIT * growth * size
