"""Why there is no certificate, in plain words."""

from __future__ import annotations

import torch

from invsmooth import Ridge, certify
from invsmooth.operators import BlockGaussian


class WithoutNorm(BlockGaussian):
    norm = None  # type: ignore[assignment]


def test_a_solver_on_an_operator_without_a_norm() -> None:
    operator = WithoutNorm(ratio=0.3, block=4)
    y = operator.A(torch.linspace(0, 1, 64).reshape(1, 1, 8, 8))
    certificate = certify(Ridge(0.1), operator, y, eps=0.1, certifier="lipschitz")
    assert "is declared as inf" not in str(certificate.reason)
    assert "declares no norm()" in str(certificate.reason)
