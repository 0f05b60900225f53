"""What ``operator=deepinv`` does with any physics, without deepinv: an object with the methods A and A_adjoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invsmooth.core.errors import CheckpointError, NoConstant
from invsmooth.operators import DeepInv
from invsmooth.operators.base import step_of
from invsmooth.operators.deepinv_norms import decimated, power_iteration
from invsmooth.operators.rebuild import check_nested

HERE = "tests.operators.test_deepinv."


class Matrix(nn.Module):
    """A physics of images of ``side`` × ``side`` pixels. ``mismatch``: of its adjoint."""

    def __init__(self, side: int = 4, m: int = 24, mismatch: float = 0.0, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.img_size, self.mismatch = (1, side, side), mismatch
        self.register_buffer("matrix", 3 * torch.randn(m, side**2, generator=rng))

    def A(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.T

    def A_adjoint(self, y: Tensor) -> Tensor:
        return (1 + self.mismatch) * (y @ self.matrix).unflatten(1, self.img_size)


class Unseeded(Matrix):
    """It takes its numbers from torch's own stream."""

    def __init__(self) -> None:
        super().__init__()


class Pairs(Matrix):
    """Its measurements are complex."""

    def A(self, x: Tensor) -> Tensor:
        return torch.complex(*super().A(x).chunk(2, 1))

    def A_adjoint(self, y: Tensor) -> Tensor:
        return super().A_adjoint(torch.cat([y.real, y.imag], 1))


def described(name: str, **parameters: object) -> dict[str, object]:
    return {"_target_": HERE + name, **parameters}


@pytest.mark.parametrize("m", [5, 24])
def test_norm_is_the_largest_singular_value(m: int) -> None:
    operator = DeepInv(described("Matrix", m=m), seed=1)
    exact = np.linalg.svd(operator.made.matrix.double().numpy(), compute_uv=False)[0]
    assert exact <= operator.norm() <= exact * (1 + 1e-5)
    assert power_iteration(operator) == pytest.approx(exact, rel=1e-2)
    assert step_of(operator) == pytest.approx(exact**-2, rel=0.02)


def test_no_norm_where_the_adjoint_is_another_or_the_size_unknown() -> None:
    for bound in (None, 100.0):
        with pytest.raises(NoConstant, match="A_adjoint is not the adjoint of A"):
            DeepInv(described("Matrix", mismatch=1e-3), bound=bound).norm()
    physics = Matrix()
    del physics.img_size
    with pytest.raises(NoConstant, match="does not say the size of its images"):
        DeepInv(physics).norm()
    assert DeepInv(physics, bound=40.0).norm() == 40.0


def test_bound_below_the_norm_is_refused() -> None:
    norm = DeepInv(described("Matrix")).norm()
    assert DeepInv(described("Matrix"), bound=1.1 * norm).norm() == 1.1 * norm
    with pytest.raises(ValueError, match=r"is no bound of \|\|A\|\|, which is at least"):
        DeepInv(described("Matrix"), bound=0.9 * norm)


def test_seed_makes_the_matrix_and_leaves_torchs_own_stream() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    for name in ("Matrix", "Unseeded"):
        one, same, other = (DeepInv(described(name), seed=s) for s in (0, 0, 1))
        assert one.sha256() == same.sha256() != other.sha256()
    one, same, other = (DeepInv(described("Matrix"), seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.made.matrix, same.made.matrix)
    assert one.sha256() == same.sha256() != other.sha256()
    assert one.sha256() != DeepInv(described("Matrix", mismatch=0.1)).sha256()


def test_complex_measurements_become_pairs() -> None:
    operator = DeepInv(described("Pairs")).double()
    x, y = torch.randn(2, 1, 4, 4, dtype=torch.float64), torch.randn(2, 12, 2, dtype=torch.float64)
    assert operator.A(x).shape == y.shape
    torch.testing.assert_close((operator.A(x) * y).sum(), (x * operator.A_adjoint(y)).sum())
    assert torch.equal(torch.view_as_real(operator.native(y)), y)


def test_sizes_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"is for images of shape \(1, 4, 4\), not \(1, 5, 4\): set data.crop and task"
    ):
        DeepInv(described("Matrix")).A(torch.zeros(1, 1, 5, 4))


@pytest.mark.parametrize(
    ("physics", "said"),
    [
        ({"_target_": "no_such_package.Physics"}, "cannot be imported: No module named 'no_such_package'. pip install"),
        ({"_target_": "???"}, "operator.physics._target_ has no value"),
        (described("Matrix", sise=3), "unexpected keyword argument 'sise'"),
        ({"_target_": "torch.nn.Identity"}, "has no methods A"),
    ],
)
def test_a_physics_that_cannot_be_made(physics: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DeepInv(physics)


def test_files_do_not_choose_what_is_called(tmp_path: Path) -> None:
    """A checkpoint or certificate file describes a physics by dotted names: those of trusted modules only."""
    parameters = {"physics": {"_target_": "my_lab.P", "more": [{"_target_": "os.system", "command": "true"}]}}
    for trust in ([], ["my_lab"], ["invsmooth"]):
        with pytest.raises(CheckpointError, match=r"is not imported|cannot be imported"):
            check_nested(parameters, trust, tmp_path)
    ours = {"physics": {"_target_": "invsmooth.estimators.load_checkpoint", "path": "x"}}
    with pytest.raises(CheckpointError, match="is not taken from files"):
        check_nested(ours, [], tmp_path)
    check_nested({"physics": described("Matrix")}, [HERE[:-1]], tmp_path)


def test_norm_of_a_blur_that_drops_pixels() -> None:
    """Against the dense matrix of a circular convolution, of which every second output is kept on both axes."""
    kernel = torch.randn(1, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    padded = torch.nn.functional.pad(torch.eye(64, dtype=torch.float64).reshape(64, 1, 8, 8), (1, 1, 1, 1), "circular")
    dense = torch.nn.functional.conv2d(padded, kernel)[..., ::2, ::2].flatten(1)
    exact = float(torch.linalg.matrix_norm(dense, 2))
    assert exact <= decimated(kernel, 2) <= decimated(kernel, 1)
    smooth = torch.full((1, 1, 2, 2), 0.25, dtype=torch.float64)
    assert decimated(smooth, 2) == pytest.approx(0.5)  # means of 2 × 2 pixels: 1/factor
