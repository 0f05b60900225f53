from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.io import savemat
from torch import Tensor

from invsmooth.config.parts import load_class, packaged
from invsmooth.operators import (
    BlockGaussian,
    Blur,
    DeepInv,
    Dense,
    Fourier,
    Identity,
    Inpainting,
    LinearOperator,
    Operator,
    SuperResolution,
    as_operator,
    operator_norm,
)  # fmt: skip
from invsmooth.operators.block_gaussian import measurements_per_block, orthonormal_rows
from tests.operators import conformance

OPERATORS = [
    Identity(), BlockGaussian(0.1), BlockGaussian(0.37, block=8, seed=3), BlockGaussian(1.0, block=5),
    Blur(width=0.6), Blur("uniform", 3, padding="zeros"), Blur("motion", 5, 30), Inpainting(0.4), Fourier(0.3),
    SuperResolution(0.25, "area"), SuperResolution(), SuperResolution(1 / 16),
]  # fmt: skip
OF_ONE_SIZE = [
    (Dense(0.5, 7), (7, 7)), (Dense(1.5, 5), (5, 5)), (Inpainting(0.5, mask=np.eye(2)), (2, 2)),
    (DeepInv({"_target_": "invsmooth.operators.Dense", "ratio": 1.5, "side": 5}), (5, 5)),
]  # fmt: skip


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: f"{type(o).__name__}-{o.ratio}")
def test_conformance(operator: LinearOperator) -> None:
    conformance.check(operator)


@pytest.mark.parametrize(("operator", "size"), OF_ONE_SIZE, ids=lambda o: str(o)[:10])
def test_conformance_on_one_size(operator: LinearOperator, size: tuple[int, int]) -> None:
    conformance.check(operator, [size])


def test_every_operator_of_ours_is_checked() -> None:
    assert {type(o) for o in [*OPERATORS, *(o for o, _ in OF_ONE_SIZE)]} == {
        load_class(t, "operator") for t in packaged("operator").values()
    }


class Mask:
    """A plain object: every ``every``-th column."""

    def __init__(self, every: int = 3, error: float = 0.0) -> None:
        self.every, self.error = every, error

    def A(self, x: Tensor) -> Tensor:
        return x[..., :: self.every] + self.error

    def A_adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros(*y.shape[:-1], {11: 33, 22: 66, 17: 50, 1: 3}[y.shape[-1]])
        x[..., :: self.every] = y
        return x


def test_conformance_of_a_class_from_elsewhere() -> None:
    conformance.check(Mask())
    with pytest.raises(AssertionError):
        conformance.check(Mask(error=1e-6))


def test_plain_objects_are_wrapped() -> None:
    x = torch.rand(1, 1, 33, 66)
    operator = as_operator(Mask())
    assert torch.equal(operator(x), Mask().A(x))
    assert as_operator(operator) is operator
    assert (operator.ratio, isinstance(operator, LinearOperator)) == (1.0, True)
    with pytest.raises(TypeError, match=r"it needs the methods A\(x\) and A_adjoint\(y\)"):
        as_operator(object())  # type: ignore[arg-type]


def test_hashes() -> None:
    """Those of ours are in checkpoints and certificate files, and stay. Others hash class and parameters as well."""
    assert Identity().sha256() == "a19a9f5af6b08046903c781f11cb968111a236ad7ff59f6f4cdf48e37ab194d1"
    assert (
        BlockGaussian(0.3, block=11, seed=3).sha256()
        == "841d9db8a9ef3c707cd9016d77ff63d272efc53b46a4521d04f09e93ce757e61"
    )
    hashes = [as_operator(Mask(k)).sha256() for k in (2, 3, 3)]
    assert hashes[0] != hashes[1] == hashes[2]
    assert (
        BlockGaussian(0.3, block=11, matrix=BlockGaussian(0.3, block=11, seed=3).phi.flatten(1)).sha256()
        == "841d9db8a9ef3c707cd9016d77ff63d272efc53b46a4521d04f09e93ce757e61"
    )


@pytest.mark.parametrize(("ratio", "m"), [(0.1, 109), (0.2, 218), (0.3, 327), (0.4, 436), (0.5, 545), (1.0, 1089)])
def test_measurements_per_block(ratio: float, m: int) -> None:
    assert measurements_per_block(ratio) == m
    assert BlockGaussian(ratio).phi.shape == (m, 1, 33, 33)


def test_rows_are_orthonormal_and_seeded() -> None:
    phi = orthonormal_rows(109, 1089, seed=0)
    torch.testing.assert_close(phi @ phi.T, torch.eye(109), atol=2e-6, rtol=0)
    assert torch.equal(phi, orthonormal_rows(109, 1089, seed=0))
    assert not torch.allclose(phi, orthonormal_rows(109, 1089, seed=1))


def test_blocks_are_measured_row_by_row() -> None:
    operator = BlockGaussian(0.5, block=3)
    x = torch.rand(1, 1, 3, 6)
    expected = operator.phi.flatten(1) @ x[0, 0, :, 3:].flatten()
    torch.testing.assert_close(operator.A(x)[0, :, 0, 1], expected)


def test_norm_is_one() -> None:
    assert operator_norm(Identity(), (8, 8)) == pytest.approx(1)
    assert operator_norm(BlockGaussian(0.3, block=4), (8, 12)) == pytest.approx(1, rel=1e-5)
    matrix = 3 * np.eye(4, 16, dtype=np.float32)
    assert operator_norm(BlockGaussian(0.25, block=4, matrix=matrix), (8, 8)) == pytest.approx(3, rel=1e-5)


def test_pad_is_cropped_for_the_last_and_for_a_fixed_size() -> None:
    operator = BlockGaussian(0.2, block=8)
    small, large = torch.rand(1, 1, 10, 12), torch.rand(1, 1, 16, 16)
    y_small, y_large = operator.A(small), operator.A(large)
    assert operator.A_adjoint(y_large).shape == large.shape
    fixed = operator.for_image_size(10, 12)
    assert fixed.A_adjoint(y_small).shape == small.shape
    assert operator.uncropped().A_adjoint(y_small).shape == (1, 1, 16, 16)
    with pytest.raises(ValueError, match=r"image of size \(16, 16\)"):
        fixed.A(large)


def test_whole_blocks_are_not_padded() -> None:
    """ERRATA 24: a side that is a multiple of the block gets no block more."""
    operator = BlockGaussian(0.1)
    assert operator.A(torch.rand(1, 1, 33, 66)).shape == (1, 109, 1, 2)
    assert operator.A(torch.rand(1, 1, 34, 66)).shape == (1, 109, 2, 2)


def test_matrix_files(tmp_path) -> None:
    matrix = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    np.save(tmp_path / "phi.npy", matrix)
    savemat(tmp_path / "phi.mat", {"phi": matrix})
    for path in (tmp_path / "phi.npy", str(tmp_path / "phi.mat")):
        operator = BlockGaussian(0.25, block=4, matrix=path)
        torch.testing.assert_close(operator.phi.flatten(1), torch.from_numpy(matrix))


def test_published_matrix_has_orthonormal_rows(shared_data) -> None:
    phi = BlockGaussian(0.1, matrix=shared_data / "matrices" / "phi_0_10_1089.mat").phi.flatten(1)
    torch.testing.assert_close(phi @ phi.T, torch.eye(109), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 0}, r"ratio=0 is not in \(0, 1\]"),
        ({"ratio": 50}, "write ratio=0.5 for 50 %"),
        ({"ratio": 0.5, "block": 0}, "block=0"),
        ({"ratio": 0.5, "block": 4, "matrix": np.ones((3, 16))}, r"\(3, 16\).*\(8, 16\)"),
        ({"ratio": 0.5, "matrix": "phi.txt"}, "no such file"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        BlockGaussian(**arguments)


def test_operators_have_the_two_methods_of_the_interface() -> None:
    assert all(isinstance(o, Operator) for o in OPERATORS)


def test_phi_is_not_stored_in_checkpoints() -> None:
    assert BlockGaussian(0.1).state_dict() == {}


def test_matrices_of_a_seed_have_no_preferred_direction() -> None:
    """Uniformly distributed: ||Phi u||² of a unit vector u is m/n on average, for the constant image as for any other."""
    for u in (torch.full((16,), 0.25), torch.eye(16)[3]):
        squares = torch.stack(
            [(BlockGaussian(0.25, block=4, seed=s).phi.reshape(4, 16) @ u).square().sum() for s in range(300)]
        )
        assert abs(float(squares.mean()) - 0.25) < 4 * float(squares.std()) / 300**0.5


@pytest.mark.parametrize("operator", [o for o in OPERATORS if not isinstance(o, BlockGaussian)], ids=lambda o: o.name)
def test_norm_is_proven_and_near(operator: LinearOperator) -> None:
    """The declared norm is at least the largest singular value of the dense matrix, and at most 7 % above (with zeros
    beyond the image the value on an image of any size, which the bound is for, is larger than on a small one)."""
    dense = operator.A(torch.eye(32 * 32).reshape(-1, 1, 32, 32)).flatten(1).double()
    largest = float(torch.linalg.eigvalsh(dense.T @ dense)[-1]) ** 0.5
    assert largest <= operator.norm() * (1 + 1e-6)
    assert operator.norm() <= 1.07 * largest


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: f"{o.name}-{o.ratio}")
def test_channels_are_measured_alike(operator: LinearOperator) -> None:
    x = torch.rand(2, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    y = operator.A(x)
    alone = torch.cat([operator.A(x[:, c : c + 1]) for c in range(3)], dim=1)
    if isinstance(operator, Fourier):  # real parts of all channels come first
        alone = alone[:, [0, 2, 4, 1, 3, 5]]
    torch.testing.assert_close(y, alone)
    back = torch.cat([operator.A_adjoint(operator.A(x[:, c : c + 1])) for c in range(3)], dim=1)
    torch.testing.assert_close(operator.A_adjoint(y), back)


@pytest.mark.parametrize("padding", ["circular", "zeros"])
def test_blur_is_a_convolution(padding: str) -> None:
    x = torch.rand(20, 17, generator=torch.Generator().manual_seed(0))
    for operator in (Blur("gaussian", 1.2, padding=padding), Blur("motion", 7, 25, padding=padding)):
        kernel = operator.weight[0, 0].numpy()
        assert kernel.sum() == pytest.approx(1)
        assert kernel.min() >= 0
        mode = {"circular": "wrap", "zeros": "constant"}[padding]
        expected = ndimage.convolve(x.numpy(), kernel, mode=mode)
        np.testing.assert_allclose(operator.A(x[None, None])[0, 0].numpy(), expected, atol=1e-6)
    # Of a kernel that is not symmetric, too: a convolution, not a correlation.
    lopsided = Blur("uniform", 3, padding=padding)
    lopsided.weight = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = ndimage.convolve(x.numpy(), lopsided.weight[0, 0].numpy(), mode=mode)
    np.testing.assert_allclose(lopsided.A(x[None, None])[0, 0].numpy(), expected, rtol=1e-5)
    conformance.is_adjoint(lopsided.double(), (6, 5))
    assert Blur("gaussian", 1.2).sha256() != Blur("gaussian", 1.2, padding="zeros").sha256()
    with pytest.raises(ValueError, match="too small for a kernel"):
        Blur(width=5).A(torch.rand(1, 1, 8, 8))


def test_kernels() -> None:
    assert Blur("uniform", 3).weight.flatten().tolist() == pytest.approx([1 / 9] * 9)
    horizontal, vertical = Blur("motion", 5, 0).weight[0, 0], Blur("motion", 5, 90).weight[0, 0]
    assert torch.allclose(horizontal, vertical.T, atol=1e-6)
    assert int((horizontal > 1e-6).any(1).sum()) == 1
    assert int((horizontal > 1e-6).any(0).sum()) == 5
    rising = Blur("motion", 9, 45).weight[0, 0]  # counterclockwise: up and to the right
    assert float(rising.flip(1).diagonal().sum()) > 3 * float(rising.diagonal().sum())
    for wrong in ({"kernel": "box"}, {"width": 0}, {"padding": "reflect"}):
        with pytest.raises(ValueError, match=r"not allowed|positive"):
            Blur(**wrong)  # type: ignore[arg-type]


def test_super_resolution_takes_means() -> None:
    x = torch.rand(1, 1, 8, 6)
    area = SuperResolution(0.25, "area")
    expected = x.reshape(1, 1, 4, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(area.A(x), expected)
    assert (area.ratio, area.norm()) == (0.25, pytest.approx(0.5))
    # Flat images stay flat, but at the border, where the filter meets zeros.
    flat = SuperResolution().A(torch.ones(1, 1, 12, 12))
    torch.testing.assert_close(flat[..., 1:-1, 1:-1], torch.ones(1, 1, 4, 4))
    assert SuperResolution().A(torch.ones(1, 1, 7, 5)).shape == (1, 1, 4, 3)
    assert SuperResolution(0.111).factor == 3
    for ratio in (1.0, 0.3, 0, -1):
        with pytest.raises(ValueError, match="is not 1/factor²"):
            SuperResolution(ratio)


def test_inpainting_measures_its_share() -> None:
    operator = Inpainting(0.3)
    ones = operator.A(torch.ones(1, 2, 20, 30))
    assert int(ones[0, 0].sum()) == 180
    assert torch.equal(ones[0, 0], ones[0, 1])
    assert torch.equal(Inpainting(0.3).A(ones), ones)  # determined by the seed
    assert not torch.equal(Inpainting(0.3, seed=1).A(torch.ones_like(ones)), ones)
    mask = np.array([[1, 0], [1, 1]])
    assert Inpainting(0.75, mask=mask).A(torch.ones(1, 1, 2, 2)).flatten().tolist() == [1, 0, 1, 1]
    with pytest.raises(ValueError, match=r"measures 0\.75 of the pixels"):
        Inpainting(0.5, mask=mask)
    with pytest.raises(ValueError, match="the mask is of"):
        Inpainting(0.75, mask=mask).A(torch.ones(1, 1, 3, 2))
    with pytest.raises(ValueError, match="some measured pixels"):
        Inpainting(0.5, mask=np.zeros((2, 2)))


def test_fourier_measures_columns_around_frequency_0() -> None:
    x = torch.rand(1, 1, 16, 40)
    operator = Fourier(0.25, center=0.1)
    y = operator.A(x)
    expected = np.fft.fft2(x[0, 0].numpy(), norm="ortho")
    measured = y[0, 0].abs().sum(0) + y[0, 1].abs().sum(0) > 0
    assert int(measured.sum()) == 10
    assert measured[[0, 1, 39]].all()
    np.testing.assert_allclose(y[0, 0].numpy()[:, measured], expected.real[:, measured], atol=1e-5)
    np.testing.assert_allclose(y[0, 1].numpy()[:, measured], expected.imag[:, measured], atol=1e-5)
    torch.testing.assert_close(Fourier(1.0).A_adjoint(Fourier(1.0).A(x)), x)


def test_dense_is_a_matrix_of_one_size() -> None:
    phi = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    x = torch.rand(2, 3, 2, 2)
    y = Dense(1.5, 2, matrix=phi).A(x)  # more measurements than pixels
    np.testing.assert_allclose(y[1, 2].numpy(), phi @ x[1, 2].flatten().numpy(), rtol=1e-5)
    assert Dense(1.5, 2, matrix=phi).norm() == pytest.approx(float(np.linalg.norm(phi, 2)))
    with pytest.raises(ValueError, match="is for images of 2×2"):
        Dense(1.5, 2, matrix=phi).A(torch.rand(1, 1, 3, 3))
    with pytest.raises(ValueError, match=r"need \(2, 4\)"):
        Dense(0.5, 2, matrix=phi)
