"""The frontier against a loop over all pairs, and against published numbers."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from invsmooth.lipschitz import frontier as module
from invsmooth.lipschitz.frontier import compared, frontier, minimal_constant, whole_blocks
from invsmooth.operators import BlockGaussian, Identity, LinearOperator


class FirstColumns(LinearOperator):
    """Sees the first k columns of an image, times 2."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def A(self, x: Tensor) -> Tensor:
        return 2 * x[..., : self.k]


def images(n: int = 30, side: int = 6) -> Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(0))


def by_a_loop(x: Tensor, operator: LinearOperator, psnr: float) -> float:
    error = (x[0].numel() * 10 ** (-psnr / 10)) ** 0.5
    pairs = [(a.double() - b.double())[None] for a, b in itertools.combinations(x, 2)]
    return max(0.0, *(float((d.norm() - 2 * error) / operator.A(d).norm()) for d in pairs))


@pytest.mark.parametrize("psnr", [8.0, 15.0, 30.0, math.inf])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_the_largest_quotient_of_all_pairs(psnr: float, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    x, operator = images(), FirstColumns(2)
    assert minimal_constant(x, operator, psnr) == pytest.approx(by_a_loop(x, operator, psnr), rel=1e-9)


def test_the_pair_attains_it() -> None:
    x, operator = images(), BlockGaussian(0.3, block=6)
    found = frontier(x, operator, [20, math.inf])
    assert found.constants[0] < found.constants[1]
    i, j = found.pairs[1]
    d = (x[i] - x[j])[None].double()
    assert found.constants[1] == pytest.approx(float(d.norm() / operator.double().A(d).norm()), rel=1e-9)


def test_the_identity_needs_less_than_1() -> None:
    x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])  # 4 apart; errors of 4 · 10^(-psnr/20)
    assert minimal_constant(x, Identity(), 20) == pytest.approx(1 - 0.2)
    assert minimal_constant(x, Identity(), math.inf) == 1
    assert minimal_constant(x, Identity(), 6) == 0  # errors that explain the whole distance


def test_images_that_differ_where_nothing_is_measured() -> None:
    x = images(3)
    x[1, ..., :2] = x[0, ..., :2]
    assert minimal_constant(x, FirstColumns(2), math.inf) == math.inf
    assert minimal_constant(x, FirstColumns(2), 0) == 0  # not farther apart than the errors


def test_an_image_twice_counts_once() -> None:
    x, operator = images(), FirstColumns(2)
    twice = torch.cat([x, x[:5], x[:5] + 1e-9])
    assert minimal_constant(twice, operator, math.inf) == pytest.approx(minimal_constant(x, operator, math.inf))


def test_one_image_has_no_pair() -> None:
    with pytest.raises(ValueError, match="at least two"):
        minimal_constant(images(1), Identity(), 30)


def test_blocks_are_cut_whole() -> None:
    x = torch.arange(5 * 7.0).view(1, 1, 5, 7)
    blocks = whole_blocks(x, 2)
    assert blocks.shape == (6, 1, 2, 2)
    assert blocks[1, 0].tolist() == [[2, 3], [9, 10]]
    assert blocks[4, 0].tolist() == [[16, 17], [23, 24]]
    operator = BlockGaussian(0.5, block=2)
    assert len(compared([x, torch.zeros(1, 1, 1, 9)], operator)) == 6
    assert len(compared([x, x[..., :5], x[..., :5]], Identity())) == 2


def set11_blocks(folder: Path) -> Tensor:
    found = []
    for path in sorted((folder / "set11").glob("*.tif")):
        pixels = np.asarray(Image.open(path).convert("L"), dtype=np.float64) / 255
        found.append(whole_blocks(torch.from_numpy(pixels)[None, None], 33))
    return torch.cat(found)


def test_set11_at_ratio_10_percent(shared_data: Path) -> None:
    operator = BlockGaussian(0.1, matrix=shared_data / "matrices" / "phi_0_10_1089.mat")
    found = frontier(set11_blocks(shared_data), operator, [26, 30, math.inf])
    assert [round(c, 2) for c in found.constants] == [3.25, 3.63, 4.51]
    flat = torch.stack([torch.zeros(1, 33, 33), torch.ones(1, 33, 33)])
    assert round(minimal_constant(flat, operator, math.inf), 2) == 3.40


@pytest.mark.parametrize(("ratio", "published"), [(0.3, 1.86), (0.5, 1.36)])
def test_set11_at_larger_ratios(shared_data: Path, ratio: float, published: float) -> None:
    """With a matrix of ours: another one of the same distribution as the published one."""
    assert minimal_constant(set11_blocks(shared_data), BlockGaussian(ratio), 30) == pytest.approx(published, rel=0.03)
