"""An algorithm of the user's that does not train ends with a message at its first batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from invsmooth.core.errors import ConfigError
from invsmooth.metrics import mse
from invsmooth.operators import LinearOperator
from invsmooth.training import ReconstructionModule, TrainingSetup
from tests.training.toys import data, module, trainer


class Plain(ReconstructionModule):
    """Ordinary training, with a mistake."""

    def __init__(self, setup: TrainingSetup, mistake: str = "none") -> None:
        super().__init__(setup)
        self.mistake = mistake

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Any:
        losses = mse(self.estimator(operator.A(x) + b, operator), x)
        loss = losses.mean()
        if self.mistake != "no gradients":
            self.manual_backward(loss)
        return {"nothing": None, "a number": float(loss.detach()), "of each image": losses}.get(
            self.mistake, loss.detach()
        )


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("nothing", "returned a NoneType; the loss is needed"),
        ("a number", "returned a float"),
        ("of each image", r"returned shape \(\d+,\)"),
        ("no gradients", "added no gradients"),
    ],
)
def test_each_mistake_is_named(mistake: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"algo: Plain.accumulate_gradients {message}"):
        trainer(tmp_path, 2).fit(module(Plain, mistake=mistake), datamodule=data())


def test_a_sound_one_trains(tmp_path: Path) -> None:
    trained = module(Plain)
    trainer(tmp_path, 2).fit(trained, datamodule=data())
    assert trained.batches_seen == 2
