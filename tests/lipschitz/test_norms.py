"""Bounds of norms against exact norms of dense matrices, which numpy computes in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invsmooth.core.errors import NoConstant, NotFiniteError
from invsmooth.lipschitz.norms import (
    GRID,
    conv_layer_norm,
    conv_norm,
    conv_norm_tensor,
    matrix_norm,
    matrix_norm_tensor,
)

KERNELS = ((1, 1), (3, 3), (5, 5), (7, 7), (1, 5), (7, 3))


def shift(n: int, by: int, padding: str) -> np.ndarray:
    """x -> x[i + by], as a matrix."""
    return np.roll(np.eye(n), by, axis=1) if padding == "circular" else np.eye(n, k=by)


def dense(weight: Tensor, size: tuple[int, int], padding: str) -> np.ndarray:
    """The matrix of conv2d with padding (k - 1)/2 on images of a size: a sum of shifts."""
    w = weight.double().numpy()
    height, width = w.shape[2:]
    shifts = [
        [
            np.kron(shift(size[0], i - height // 2, padding), shift(size[1], j - width // 2, padding))
            for j in range(width)
        ]
        for i in range(height)
    ]
    return sum(np.kron(w[:, :, i, j], shifts[i][j]) for i in range(height) for j in range(width))


def exact(weight: Tensor, size: tuple[int, int], padding: str) -> float:
    return float(np.linalg.norm(dense(weight, size, padding), 2))


def layer_matrix(layer: nn.Module, channels: int, size: tuple[int, int]) -> np.ndarray:
    """The matrix of any linear layer: what it makes of each unit vector."""
    units = torch.eye(channels * math.prod(size), dtype=torch.float64).view(-1, channels, *size)
    with torch.no_grad():
        return layer.double()(units).flatten(1).T.numpy()


def symbol_norm(weight: Tensor, n: int = 128) -> float:
    """The largest singular value of the kernel's Fourier matrix over a fine grid: below its maximum."""
    spectrum = np.fft.rfft2(weight.double().numpy(), s=(n, n)).transpose(2, 3, 0, 1)
    gram = spectrum @ spectrum.conj().swapaxes(2, 3)
    return float(np.sqrt(np.linalg.eigvalsh(gram).max()))


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("padding", ["zeros", "circular"])
def test_the_dense_matrix_is_the_convolution(padding: str) -> None:
    layer = nn.Conv2d(2, 3, (5, 3), padding="same", padding_mode=padding, bias=False)
    np.testing.assert_allclose(
        dense(layer.weight.detach(), (6, 5), padding), layer_matrix(layer, 2, (6, 5)), rtol=0, atol=1e-12
    )


def random_cases(n: int) -> Iterator[tuple[Tensor, tuple[int, int], str]]:
    """Kernels of several sizes and numbers of channels, image sizes and paddings."""
    rng = np.random.default_rng(0)
    for seed in range(n):
        kernel = KERNELS[seed % len(KERNELS)]
        channels = rng.integers(1, 4, 2)
        # 12 × 12 pixels only with few channels: the matrix is dense.
        size = tuple(int(s) for s in rng.integers(5, 13 if channels.max() == 1 else 9 - channels.max() // 3, 2))
        yield randn(*channels, *kernel, seed=seed), size, ("zeros", "circular")[seed % 7 % 2]


def test_never_below_the_exact_norm_and_near_the_supremum() -> None:
    """Also on coarse grids, where the bound rests on the cosine: without it, it would be below in many cases."""
    tight, too_small_without_the_cosine = [], 0
    for number, (weight, size, padding) in enumerate(random_cases(300)):
        truth = exact(weight, size, padding)
        degrees = [(k - 1) / 2 for k in weight.shape[2:]]
        for grid in (GRID, int(2 * max(degrees)) + 2 + number % 5):
            bound = conv_norm(weight, padding, grid)
            assert bound >= truth, (number, grid)
            cosines = math.prod(math.cos(math.pi * d / grid) for d in degrees)
            too_small_without_the_cosine += bound * cosines < truth * (1 - 1e-6)
        if weight.shape[2:] == (3, 3):
            tight.append(conv_norm(weight, padding) / symbol_norm(weight))
    assert too_small_without_the_cosine >= 10
    assert min(tight) >= 1
    assert max(tight) <= 1.0035
    assert len(tight) >= 40


def test_a_symbol_that_peaks_between_the_points_of_the_grid() -> None:
    """|a e^{iω} + b + c e^{-iω}|² peaks at cos ω = -b (a + c)/(4 a c), here midway between two points of the usual grid.
    On 2·GRID pixels it is attained. The maximum over the grid alone is too small."""
    omega = 2 * math.pi * 10.5 / GRID
    a, c = 1.0, -0.4
    b = -4 * a * c * math.cos(omega) / (a + c)
    for weight in (torch.tensor([a, b, c]).view(1, 1, 1, 3), torch.tensor([a, b, c]).view(1, 1, 3, 1)):
        size = (1, 2 * GRID) if weight.shape[3] == 3 else (2 * GRID, 1)
        truth = exact(weight, size, "circular")
        assert truth == pytest.approx(math.sqrt(a * a + b * b + c * c + 2 * b * (a + c) * math.cos(omega)
                                                + 2 * a * c * math.cos(2 * omega)))  # fmt: skip
        assert truth <= conv_norm(weight, "circular") <= truth * 1.0025
        assert conv_norm(weight, "circular") * math.cos(math.pi / GRID) < truth * (1 - 1e-5)


@pytest.mark.parametrize(("n", "at_least"), [(7, 2), (3, 40)])
def test_fourier_transforms_on_the_grid_of_the_image_or_the_kernel_are_no_bounds(n: int, at_least: int) -> None:
    """What many programs compute is below the norm of a zero-padded convolution in some cases."""
    below = 0
    for seed in range(60):
        weight = randn(1, 1, 3, 3, seed=seed)
        below += float(torch.fft.fft2(weight.double(), s=(n, n)).abs().max()) < exact(weight, (7, 7), "zeros") * 0.999
    assert at_least <= below < 60


STRUCTURED = {
    "delta": (torch.eye(9)[4].view(1, 1, 3, 3), 1.0),
    "delta at a corner": (torch.eye(9)[0].view(1, 1, 3, 3), 1.0),
    "average": (torch.full((1, 1, 5, 5), 1 / 25), 1.0),
    "difference": (torch.tensor([0.0, -1.0, 1.0]).view(1, 1, 1, 3), 2.0),
    "second difference": (torch.tensor([1.0, -2.0, 1.0]).view(1, 1, 3, 1), 4.0),
    "laplacian": (torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3), 8.0),
    "checkerboard": ((-1.0) ** torch.arange(49).view(1, 1, 7, 7), 49.0),
    "gradient": (torch.tensor([[[[0.0, -1, 1]] * 3], [[[0, 0, 0], [-1] * 3, [1] * 3]]]) * 0.5, None),
    "rank one": (randn(3, 1, 1, 1, seed=1) * randn(1, 2, 1, 1, seed=2) * randn(1, 1, 5, 1, seed=3), None),
    "two directions at one frequency": (torch.stack([torch.eye(3), -torch.eye(3).flip(0)]).view(1, 2, 3, 3), None),
    "zero": (torch.zeros(2, 2, 3, 3), 0.0),
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_kernels(name: str) -> None:
    """``supremum``: of the symbol, by hand."""
    weight, supremum = STRUCTURED[name]
    bound = conv_norm(weight)
    for padding in ("zeros", "circular"):
        for size in ((5, 5), (6, 9), (12, 11)):
            assert conv_norm(weight, padding) >= exact(weight, size, padding)
    cosines = math.prod(math.cos(math.pi * (k - 1) / 2 / GRID) for k in weight.shape[2:])
    if supremum is not None:
        assert supremum <= bound <= supremum / cosines * (1 + 1e-6)
    assert symbol_norm(weight) <= bound


def layers() -> Iterator[tuple[nn.Module, int, tuple[int, int]]]:
    """Strides, wide, narrow and circular padding, transposed convolutions."""
    for seed in range(40):
        torch.manual_seed(seed)
        kernel, stride = KERNELS[1 + seed % 5], (1 + seed % 3, 1 + seed // 3 % 3)
        half = tuple(k // 2 for k in kernel)
        padding = tuple(seed // 2 % (k + 1) for k in kernel)
        size = (7 + seed % 3, 9 - seed % 3)
        yield nn.Conv2d(2, 3, kernel, stride, padding, bias=False), 2, size
        yield nn.Conv2d(2, 1, kernel, stride, half, padding_mode="circular", bias=False), 2, size
        yield nn.ConvTranspose2d(3, 2, kernel, stride, half, tuple(s - 1 for s in stride), bias=False), 3, size
    yield nn.Conv2d(1, 1, 3, padding="same", padding_mode="circular", bias=False), 1, (5, 6)
    yield nn.Conv2d(1, 1, 3, padding="valid", padding_mode="circular", bias=False), 1, (5, 6)


def test_layers_with_strides_and_transposed_ones() -> None:
    attained = []
    for layer, channels, size in layers():
        bound = conv_layer_norm(layer)
        truth = float(np.linalg.norm(layer_matrix(layer, channels, size), 2))
        assert truth <= bound, layer
        attained.append(truth / bound)
    assert max(attained) > 0.95


def test_a_wide_circular_padding_repeats_outputs_and_has_no_bound() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=3, padding_mode="circular", bias=False)
    assert np.linalg.norm(layer_matrix(layer, 1, (5, 5)), 2) > conv_norm(layer.weight, "circular")
    with pytest.raises(NoConstant, match=r"circular padding=\(3, 3\) exceeds half of the kernel"):
        conv_layer_norm(layer)


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(2, 2, 3, dilation=2), "dilation=\\(2, 2\\)"),
        (nn.Conv2d(2, 2, 3, groups=2), "groups=2"),
        (nn.ConvTranspose2d(2, 2, 3, groups=2), "groups=2"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "padding='reflect' has no proven norm; allowed: zeros"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate"), "padding='replicate'"),
        (nn.Conv2d(1, 1, (3, 2)), "odd height and width"),
        (nn.Conv2d(1, 1, 65, padding=32), "too large for a grid of 64"),
        (nn.Linear(3, 3), "Linear has no proven norm"),
        (nn.Conv3d(1, 1, 3), "Conv3d has no proven norm"),
        (Standardised(1, 1, 3), "Standardised has no proven norm"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_has_no_proof_is_refused(layer: nn.Module, message: str) -> None:
    with pytest.raises(NoConstant, match=message):
        conv_layer_norm(layer)


def test_reflection_padding_exceeds_the_bound_of_zero_padding() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect", bias=False)
    layer.weight = nn.Parameter(torch.tensor([[0.0, 0, 0], [1, 0, 1], [0, 0, 0]]).view(1, 1, 3, 3))
    assert np.linalg.norm(layer_matrix(layer, 1, (5, 5)), 2) > 1.01 * conv_norm(layer.weight)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    weight = torch.ones(2, 2, 3, 3)
    weight[0, 1, 2, 0] = value
    with pytest.raises(NotFiniteError, match="not finite"):
        conv_norm(weight)
    with pytest.raises(NotFiniteError, match="not finite"):
        matrix_norm(weight.flatten(1))


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 40), (64, 64)])
def test_matrices(shape: tuple[int, int]) -> None:
    for seed in range(10):
        matrix = randn(*shape, seed=seed)
        truth = np.linalg.norm(matrix.double().numpy(), 2)
        assert truth <= matrix_norm(matrix) <= truth * (1 + 1e-8)


def test_single_precision_weights_are_bounded_as_they_are() -> None:
    """Not a rounded norm of theirs."""
    weight = randn(2, 3, 3, 3, seed=0)
    assert conv_norm(weight) == conv_norm(weight.double())
    matrix = torch.diag(torch.tensor([1 / 3, 1e-4]))
    assert matrix_norm(matrix) == pytest.approx(float(matrix[0, 0].double()), rel=1e-8)


@pytest.mark.parametrize("channels", [(1, 3), (2, 3)])
def test_gradients(channels: tuple[int, int]) -> None:
    """Against finite differences; and finite for a layer that starts at zero."""
    weight = randn(*channels, 3, 3, seed=0).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: conv_norm_tensor(w, grid=16), weight, atol=1e-5)
    assert torch.autograd.gradcheck(matrix_norm_tensor, weight.detach().flatten(1).requires_grad_(), atol=1e-5)
    zero = torch.zeros(*channels, 3, 3, requires_grad=True)
    (conv_norm_tensor(zero) + matrix_norm_tensor(zero.flatten(1))).backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()
