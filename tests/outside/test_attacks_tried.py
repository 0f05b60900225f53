"""An attack of the user's that is none is refused before any work, and in Python when it returns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from invsmooth.attacks import Objective, attack
from invsmooth.attacks.search import Found, ImageKeys
from invsmooth.core.errors import ConfigError, PremiseError
from invsmooth.estimators import Ridge
from invsmooth.operators import Identity
from invsmooth.pipeline import own_code
from tests.sweeps.sweeping import run


class Nothing:
    """xi = 0, with a mistake."""

    name: ClassVar[str] = "nothing"

    def __init__(self, mistake: str = "none") -> None:
        self.mistake = mistake

    def cost(self, eps: float, passes: tuple[int, int], n_samples: int) -> Any:
        return "many" if self.mistake == "cost" else (1, 0)

    def search(
        self, objective: Objective, like: Tensor, *, eps: float, seed: int = 0, image_keys: ImageKeys | None = None
    ) -> Any:
        if self.mistake == "raises":
            raise OSError("a bug")
        xi = torch.zeros_like(like)
        loss = objective.value(xi)
        answers: dict[str, Any] = {
            "tensor": xi, "outside": Found(xi + eps, loss, loss[:, None]), "nan": Found(xi * torch.nan, loss, loss[:, None]),
            "just outside": Found(1.001 * eps * torch.ones_like(xi) / xi[0].numel() ** 0.5, loss, loss[:, None]),
            "smaller": Found(xi[..., 1:], loss, loss[:, None]), "double": Found(xi.double(), loss, loss[:, None]),
            "one loss": Found(xi, loss.sum(), loss[:, None]), "losses": Found(xi, loss, loss),
        }  # fmt: skip
        return answers.get(self.mistake, Found(xi, loss, loss[:, None]))


MISTAKES = [
    ("tensor", "search returned a Tensor"),
    ("outside", "it left the ball: ‖xi‖ = 4, eps = 0.5"),
    ("just outside", "it left the ball: ‖xi‖ = 0.5005, eps = 0.5"),
    ("nan", "xi is not finite"),
    ("double", "xi is torch.float64 in place of torch.float32"),
    ("smaller", r"xi is shape \(1, 1, 8, 7\)"),
    ("one loss", r"loss is shape \(\); \(1,\) is needed"),
    ("losses", r"losses is shape \(1,\); \(1, -1\) is needed"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_a_result_that_is_none_is_refused(mistake: str, message: str) -> None:
    with pytest.raises(PremiseError, match=f"attack Nothing: {message}"):
        attack(Nothing(mistake), Ridge(0.1), Identity(), torch.rand(1, 1, 8, 8), eps=0.5)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        *MISTAKES,
        ("raises", r"fails on an image of .*, eps = 0.5: OSError: a bug \(.*, line "),
        ("cost", "cost is 'many'"),
    ],
)
def test_before_any_work(mistake: str, message: str) -> None:
    evaluation = SimpleNamespace(attack=Nothing(mistake), eps=[0.0, 0.5])
    data = SimpleNamespace(channels=1, images={"train": None}, patches=SimpleNamespace(patch_size=8))
    with pytest.raises(ConfigError, match=f"attack: Nothing.* {message}"):
        own_code.try_attack(evaluation, Ridge(0.1), Identity(), data)  # type: ignore[arg-type]


def test_a_sound_one_is_allowed_and_a_refused_run_leaves_nothing(tmp_path: Path) -> None:
    assert attack(Nothing(), Ridge(0.1), Identity(), torch.rand(2, 1, 8, 8), eps=0.5).xi.abs().max() == 0
    own = ["attack=custom", "attack._target_=tests.outside.test_attacks_tried.Nothing", "attack.eps=0.5"]
    done = run(tmp_path, *own, "+attack.mistake=outside", "+estimator.fate=lives", code=2)
    assert "error: attack: Nothing: it left the ball" in done.stderr
    assert not list(tmp_path.iterdir())
    run(tmp_path, *own, "+estimator.fate=lives", "hydra.run.dir=run", "report=false", code=0)
