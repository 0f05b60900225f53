"""DPDNN (Dong et al., "Denoising Prior Driven Deep Neural Network for Image Restoration", TPAMI 2019)."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from invsmooth.core.parameters import Count
from invsmooth.estimators.unfolded import unfolded
from invsmooth.operators.base import Operator, step_of


def conv_stack(channels: list[int], last_relu: bool) -> nn.Sequential:
    """3×3 convolutions with ReLU between them (and behind the last one if ``last_relu``)."""
    layers: list[nn.Module] = []
    for c_in, c_out in pairwise(channels):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers if last_relu else layers[:-1])


class UNetDenoiser(nn.Module):
    """The denoising prior: a U-Net with a global residual, v = x + net(x). Sides must be multiples of 2^levels."""

    def __init__(self, channels: int, levels: int, share_down: bool, image_channels: int) -> None:
        super().__init__()
        c = channels
        self.encoders = nn.ModuleList(
            conv_stack([image_channels if k == 0 else c, c, c, c], True) for k in range(levels)
        )
        n_down = min(levels, 2) if share_down else levels
        self.downs = nn.ModuleList(nn.Conv2d(c, c, 3, stride=2, padding=1) for _ in range(n_down))
        self.bottom = nn.Conv2d(c, c, 3, padding=1)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(c, c, 3, 2, 1, output_padding=1) for _ in range(levels))
        self.fusions = nn.ModuleList(nn.Conv2d(2 * c, c, 1) for _ in range(levels))
        self.decoders = nn.ModuleList(conv_stack([c] * 5, last_relu=False) for _ in range(levels))
        self.tail = nn.Conv2d(c, image_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skips, h = [], x
        for k, encoder in enumerate(self.encoders):
            skips.append(encoder(h))
            h = F.relu(self.downs[k % len(self.downs)](skips[-1]))
        h = F.relu(self.bottom(h))
        for k in reversed(range(len(skips))):
            h = F.relu(self.fusions[k](torch.cat([self.ups[k](h), skips[k]], dim=1)))
            h = self.decoders[k](h)
        return x + self.tail(h)


class DPDNN(nn.Module):
    """DPDNN, ``estimator(y, operator) -> x_hat``: unfolded steps that share one U-Net denoiser (SPEC section 3).

    x_{t+1} = (1 - delta_t - eta_t) v_t + eta_t x_t + delta_t (x_t - A^T(A x_t - y)), v_t = U-Net(x_t), x_0 = A^T y.
    Images of any size: reflect-padded to a multiple of 2^levels around the U-Net, then cropped.
    Published are 6 unfolded steps T, 64 feature channels, 4 levels of the U-Net and the initial delta_t 0.1.

    Args:
        eta: initial eta_t. As published it is 0.9, and then 1 - delta - eta = 0: the U-Net gets no gradient at the
            first step. 0.8, say, avoids that.
        share_down: reuse the first two down-convolutions at the deeper levels, as the published PyTorch code does and
            its checkpoints need; 1 289 805 parameters at the default size, else 1 363 661.
        image_channels: C of the images: 1, or 3 for colour, which all convolutions see together.
    Raises: ValueError: a size below 1."""

    # Parameters that the shapes of published weights determine.
    published_sizes: ClassVar = ("n_steps", "channels", "levels", "share_down")

    def __init__(
        self, n_steps: Count = 6, channels: Count = 64, levels: Count = 4, delta: float = 0.1, eta: float = 0.9,
        share_down: bool = False, image_channels: Count = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        if min(n_steps, channels, levels, image_channels) < 1:
            sizes = f"n_steps={n_steps}, channels={channels}, levels={levels} and image_channels={image_channels}"
            raise ValueError(f"{sizes} have to be at least 1")
        self.n_steps, self.channels, self.levels, self.share_down = n_steps, channels, levels, share_down
        self.image_channels = image_channels
        self.denoiser = UNetDenoiser(channels, levels, share_down, image_channels)
        self.delta = nn.Parameter(torch.full((n_steps,), float(delta)))
        self.eta = nn.Parameter(torch.full((n_steps,), float(eta)))
        for module in self.denoiser.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def denoise(self, x: Tensor) -> Tensor:
        """The U-Net's output v for images (B, C, H, W) of any size."""
        height, width = x.shape[-2:]
        bottom, right = -height % 2**self.levels, -width % 2**self.levels
        if not (bottom or right):
            return self.denoiser(x)
        # Reflection cannot add as much as the image itself has; a tiny image is extended by its border instead.
        mode = "reflect" if bottom < height and right < width else "replicate"
        return self.denoiser(F.pad(x, (0, right, 0, bottom), mode=mode))[..., :height, :width]

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        """Reconstruct images (B, C, H, W) from measurements y; x_hat is not clipped."""
        step = step_of(operator)
        x = step * operator.A_adjoint(y)
        for t in range(self.n_steps):
            delta, eta = self.delta[t], self.eta[t]
            gradient_step = x - step * operator.A_adjoint(operator.A(x) - y)
            x = (1 - delta - eta) * unfolded(self.denoise, x) + eta * x + delta * gradient_step
        return x
