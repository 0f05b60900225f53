"""The example in docs/lipschitz.md runs, and its constant is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from invsmooth.operators import Identity
from tests.estimators.lipschitz_conformance import check

PAGE = Path(__file__).parents[1] / "docs" / "lipschitz.md"


def test_the_example_declares_a_constant_and_is_certified(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{names['certificate'].lipschitz}")
    shares = check(names["Sharpen"](), Identity(), least=0.5)
    assert max(shares.values()) <= 1
    # By hand: no noise, so that f(y) - x is the convolution.
    f = names["Sharpen"]()
    x = names["x"].double()
    found = names["certify"](f, Identity(), names["x"], certifier="lipschitz", eps=[1.0, 5.0], x=names["x"])
    error = float((f.double()(x, None) - x).norm().detach())
    for k, eps in enumerate((1.0, 5.0)):
        expected = (error + f.lipschitz(None) * eps) ** 2 / 32**2
        assert float(found.certified_error[0, k]) == pytest.approx(expected, rel=1e-6)
