"""Audits of small estimators: what is found, and where it lies against the frontier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invsmooth.core.errors import PremiseError
from invsmooth.data.datamodule import NamedImages
from invsmooth.estimators import LipNet, MatchedFilter, Ridge, load_checkpoint
from invsmooth.evaluation.audited import Audited, Budget, audit_setting
from invsmooth.lipschitz.constants import in_float64
from invsmooth.operators import BlockGaussian, Identity, LinearOperator
from invsmooth.operators.base import Operator
from invsmooth.operators.measurement import Setting

SMALL = Budget(("measurement",), n_images=1, n_restarts=1, n_iter=10, n_steps=15, seed=0)


class ReadsYAgain(nn.Module):
    """x <- shifted x + y/4, three times: each block is 1-Lipschitz in x. The constant is that of y -> 1.75 y, for an image
    of one grey."""

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        x = start = operator.A_adjoint(y)
        for _ in range(3):
            x = torch.roll(x, 1, -1) + start / 4
        return x


class OfMatrix(nn.Module):
    """x = W y for each block, with its norm as its constant, times ``honesty``."""

    def __init__(self, weight: Tensor, honesty: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.honesty = honesty

    def forward(self, y: Tensor, operator: BlockGaussian) -> Tensor:
        b, _, rows, columns = y.shape
        blocks = torch.einsum("nm,bmrc->brcn", self.weight, y).view(b, rows, columns, operator.block, operator.block)
        return operator.crop(blocks.permute(0, 1, 3, 2, 4).flatten(1, 2).flatten(2, 3)[:, None])

    def lipschitz(self, operator: Operator) -> float:
        return self.honesty * float(torch.linalg.matrix_norm(self.weight.double(), 2)) * (1 + 1e-9)


class Rough(nn.Module):
    """The identity, solved to within 0.01 and declared so."""

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        return y + 0.01 * (1e3 * y).sin() / y[0].numel() ** 0.5

    def lipschitz(self, operator: Operator) -> float:
        return 1.0

    def inexactness(self, operator: Operator, y: Tensor, eps: float) -> float:
        return 0.01


def images(n: int = 6, side: int = 22) -> list[NamedImages]:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(n, 1, side // 2, side // 2, generator=generator)
    x = nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    return [NamedImages([f"image {i}"], x[i : i + 1]) for i in range(n)]


def audited(estimator: nn.Module, operator: LinearOperator, sigma_b: float = 0.0, **budget: Any) -> tuple:
    setting = Setting(operator, operator.ratio, sigma_b)
    return audit_setting(in_float64(estimator), setting, images(), Budget(**vars(SMALL) | budget))


def only(found: list[Audited]) -> Audited:
    (one,) = found
    return one


def mmse(operator: BlockGaussian) -> Tensor:
    """Of the blocks of the images: covariance times Phiᵀ (Phi covariance Phiᵀ + 1e-3)⁻¹."""
    blocks = torch.cat([i.x for i in images(40)]).unfold(2, 11, 11).unfold(3, 11, 11).reshape(-1, 121)
    covariance, phi = blocks.T @ blocks / len(blocks), operator.phi.flatten(1)
    return covariance @ phi.T @ torch.linalg.inv(phi @ covariance @ phi.T + 1e-3 * torch.eye(len(phi)))


def test_a_network_that_reads_y_in_every_block_expands() -> None:
    found, _, _ = audited(ReadsYAgain(), Identity(), sigma_b=0.05)
    best = only(found).search.best
    assert 1.5 < best.lower_bound <= 1.75
    assert (only(found).declared, only(found).rho) == (None, 0)
    assert "no Lipschitz constant" in only(found).reason


@pytest.mark.parametrize("threat", ["measurement", "signal"])
def test_a_matrix_in_both_threats(threat: str) -> None:
    """With orthonormal rows of Phi both constants are ||W||; with 2 Phi that of the signal is twice as large."""
    for scale in (1, 2):
        operator = BlockGaussian(0.2, block=11)
        operator.phi *= scale
        weight = mmse(BlockGaussian(0.2, block=11))
        found, _, _ = audited(OfMatrix(weight), operator, threats=(threat,), n_iter=20, n_steps=30)
        largest = float(torch.linalg.matrix_norm(weight, 2)) * (scale if threat == "signal" else 1)
        assert only(found).search.best.lower_bound == pytest.approx(largest, rel=0.01)
        assert only(found).declared == pytest.approx(largest, rel=1e-6)
        assert only(found).search.best.lower_bound <= only(found).declared


def test_the_evidence_reproduces_the_quotient(tmp_path: Path) -> None:
    operator = BlockGaussian(0.2, block=11)
    found, _, _ = audited(ReadsYAgain(), operator, sigma_b=0.1, threats=("signal",))
    torch.save(only(found).evidence, tmp_path / "pair.pt")
    pair = torch.load(tmp_path / "pair.pt", weights_only=True)
    exact = in_float64(operator)
    exact.A(pair["u"])
    f = [ReadsYAgain()(exact.A(pair[z]) + pair["b"], exact) for z in ("u", "v")]
    assert float((f[0] - f[1]).norm()) == pytest.approx(only(found).search.best.moved, rel=1e-9)
    assert float(pair["b"].std()) == pytest.approx(0.1, rel=0.2)
    pictures = only(found).pictures
    assert list(pictures) == ["f(v)", "u − v", "f(u) − f(v)"]
    assert len({picture.shape for picture in pictures.values()}) == 1


def test_inexactness_is_taken_off() -> None:
    found, _, _ = audited(Rough(), Identity())
    best = only(found).search.best
    assert only(found).rho == 0.01
    assert best.error == pytest.approx(0.01, rel=0.05)
    assert best.lower_bound <= 1


ESTIMATORS = {
    "matched filter": lambda op: MatchedFilter(), "ridge": lambda op: Ridge(0.5), "mmse": lambda op: OfMatrix(mmse(op)),
    "half": lambda op: OfMatrix(mmse(op) / 2), "reads y again": lambda op: ReadsYAgain(),
}  # fmt: skip


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_lies_below_the_frontier(name: str) -> None:
    """Of blocks, reconstructed each on its own, at the worst PSNR of any of them; with hardly any search."""
    operator = BlockGaussian(0.2, block=11)
    found, about, lines = audited(ESTIMATORS[name](operator), operator, n_iter=1, n_steps=1)
    assert (about["compared"], about["size"]) == (24, 11)
    assert only(found).search.best.lower_bound >= about["frontier"] - 1e-5
    assert only(found).declared is None or only(found).declared >= about["frontier"]
    above = [line["constant"] for line in lines if line["psnr"] >= about["psnr_worst"]]
    below = [line["constant"] for line in lines if line["psnr"] <= about["psnr_worst"]]
    assert max(below, default=0) <= about["frontier"] <= min(above)
    if name == "mmse":
        assert about["frontier"] > 0.5  # the test says something
    assert about["psnr"] >= about["psnr_worst"] - 3


def test_denoisers_and_the_frontier_of_images() -> None:
    found, about, _ = audited(LipNet(1, 4, 3), Identity(), sigma_b=0.02, n_iter=1, n_steps=1)
    assert (about["compared"], about["size"]) == (6, 22)
    assert 0.3 < about["frontier"] <= only(found).search.best.lower_bound <= 1
    assert only(found).declared == pytest.approx(1)


def test_what_does_not_belong_together_says_so() -> None:
    with pytest.raises(PremiseError, match=r"the estimator fails on y: .*y has shape \(1, 20, 3, 3\)"):
        audited(OfMatrix(torch.zeros(100, 7)), BlockGaussian(0.2, block=10))


@pytest.mark.slow
def test_a_published_network_expands(shared_data: Path) -> None:
    """ISTA-Net++ as its authors published it: no constant, and a large one is found."""
    estimator = load_checkpoint(shared_data / "weights" / "istanetpp_official_401.pkl")
    setting = Setting(BlockGaussian(0.1, matrix=shared_data / "matrices" / "phi_0_10_1089.mat"), 0.1, 0.0)
    few = Budget(**vars(SMALL) | {"n_iter": 2, "n_steps": 1})
    block = [NamedImages(["block"], images(1, 34)[0].x[..., :33, :33])]
    found, _, _ = audit_setting(in_float64(estimator), setting, block, few)
    assert only(found).search.best.lower_bound > 2
