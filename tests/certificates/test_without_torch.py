"""A bound is checked again from numbers in a file, where there is no torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from invsmooth import certificates
from invsmooth.certificates import MeanCertificate, certify
from invsmooth.certificates.variance_constrained import movement
from invsmooth.operators import Identity
from tests.certificates.nets import ReluNet


def test_the_arithmetic_imports_no_torch() -> None:
    modules = ("order_statistics", "confidence", "variance_constrained", "center_smoothing", "certifier", "by_name",
               "discrepancy", "error", "radius", "mean", "center")  # fmt: skip
    code = "import sys\nimport invsmooth.certificates\n"
    code += "\n".join(f"import invsmooth.certificates.{module}" for module in modules)
    code += (
        "\nassert invsmooth.certificates.order_statistic_index(50, 0.5, 0.99) == 34\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there() -> None:
    for name in certificates.__all__:
        assert getattr(certificates, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'certificate_of_everything'"):
        _ = certificates.certificate_of_everything


def test_mean_bounds_follow_from_the_numbers_of_the_certificate() -> None:
    eps, sigma, x = [0.02, 0.1, 0.3], 0.1, torch.rand(1, 1, 4, 4)
    found = certify(ReluNet(16), Identity(), x, sigma=sigma, eps=eps, n_samples=300, certifier="mean", x=x + 0.1)
    assert isinstance(found, MeanCertificate)
    names = ("lambda_hat", "trace_hat", "radius", "mean_offset", "centre_error", "mean_error")
    numbers = json.loads(json.dumps({name: float(getattr(found, name)) for name in names}))
    errors = numbers.pop("centre_error"), numbers.pop("mean_error")
    for j, e in enumerate(eps):
        moved = movement(**numbers, ratio=e / sigma, confidence=0.99, n_samples=300)
        error = min(errors[0] + moved.offset, errors[1] + moved.deviation + moved.shift)
        for field, length in (("bound", moved.shift), ("bound_to_shown", moved.offset), ("certified_error", error)):
            assert float(getattr(found, field)[0, j]) == pytest.approx(length**2 / 16, rel=1e-12)
        for form in ("chi_square", "total_variation", "trace"):
            assert float(getattr(found, form)[0, j]) == pytest.approx(getattr(moved, form) ** 2 / 16, rel=1e-12)
