"""An operator of the user's that is none is refused before any work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from invsmooth.core.errors import ConfigError
from invsmooth.operators import LinearOperator
from invsmooth.operators.base import as_operator
from invsmooth.pipeline import own_code
from tests.sweeps.sweeping import run


class Double(LinearOperator):
    """y = 2x, with a mistake."""

    def __init__(self, mistake: str = "none") -> None:
        super().__init__()
        self.mistake = mistake

    def A(self, x: Tensor) -> object:
        if self.mistake == "raises":
            raise KeyError("a bug")
        if self.mistake == "in place":
            x.mul_(0.5)
        answers: dict[str, object] = {
            "numpy": np.zeros(3), "detached": 2 * x.detach(), "nan": x * torch.nan, "square": x**2,
            "random": x + torch.randn_like(x), "offset": x + 1,
        }  # fmt: skip
        return answers.get(self.mistake, 2 * x)

    def A_adjoint(self, y: Tensor) -> object:
        answers: dict[str, object] = {
            "adjoint": y,
            "adjoint by 1 %": 2.02 * y,
            "small adjoint": y[..., 1:],
            "adjoint of numbers": 3,
        }
        return answers.get(self.mistake, 2 * y)

    def norm(self) -> float:
        norms: dict[str, object] = {"norm": 1.9, "negative norm": -2.0, "norm in words": "two"}
        return norms.get(self.mistake, 2.0)  # type: ignore[return-value]


def try_(operator: object) -> None:
    data = SimpleNamespace(channels=1, images={"train": None}, patches=SimpleNamespace(patch_size=8))
    own_code.try_operators([as_operator(operator)], data)  # type: ignore[arg-type, list-item]


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("raises", r"fails on an image of shape \(1, 1, 8, 8\): KeyError: 'a bug' \(.*test_operators_tried.py, line "),
        ("in place", "changes the image that it is given"),
        ("numpy", "A answers with a ndarray"),
        ("detached", "A has no gradient"),
        ("nan", "A of the image is not finite"),
        ("square", "is not linear"),
        ("random", "is not linear"),
        ("offset", "is not linear"),
        ("adjoint", r"A_adjoint is not the adjoint of A: <Ax, Ax> = .*, <x, AᵀAx> = "),
        ("adjoint by 1 %", "is not the adjoint"),
        ("small adjoint", r"with shape \(1, 1, 8, 7\), not \(1, 1, 8, 8\)"),
        ("adjoint of numbers", "with a int"),
        ("norm", "norm.. is 1.9, no upper bound of ‖A‖, which is at least 2"),
        ("negative norm", "norm.. is -2.0, no upper bound"),
        ("norm in words", "norm.. is two, no upper bound"),
    ],
)
def test_each_mistake_is_named(mistake: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        try_(Double(mistake))


def test_sound_operators_are_allowed() -> None:
    try_(Double())
    try_(
        SimpleNamespace(
            A=lambda x: x[..., ::2], A_adjoint=lambda y: y.repeat_interleave(2, -1) * torch.tensor([1, 0] * 4)
        )
    )


@pytest.mark.parametrize(("mistake", "message"), [("raises", "KeyError: 'a bug'"), ("adjoint", "is not the adjoint")])
def test_a_refused_run_leaves_nothing(mistake: str, message: str, tmp_path: Path) -> None:
    own = [
        "operator=custom",
        "operator._target_=tests.outside.test_operators_tried.Double",
        f"+operator.mistake={mistake}",
    ]
    done = run(tmp_path, *own, "+estimator.fate=lives", code=2)
    assert done.stderr.startswith("error: operator: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
