"""An estimator whose job meets a given end, and the sweep of three jobs with three ends that the tests run."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import Tensor

from invsmooth.operators import LinearOperator


class Mortal(torch.nn.Module):
    """x_hat = gain · A^T y.

    Args:
        fate: ``"lives"``; ``"fails"`` raises an error; ``"dies"`` kills the process as the kernel does when memory runs out.
        seconds: before that, and before it goes on to live.
    """

    def __init__(self, fate: str, seconds: float = 0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))
        time.sleep(seconds)
        if fate == "fails":
            raise RuntimeError("a bug of the estimator")
        if fate == "dies":
            os.kill(os.getpid(), signal.SIGKILL)

    def forward(self, y: Tensor, operator: LinearOperator) -> Tensor:
        return self.gain * operator.A_adjoint(y)


ARGUMENTS = [
    "--multirun", "trainer.progress_bar=false", "trainer.num_threads=1", "task=denoise_small", "data.crop=24", "data.limit=1",
    "trainer.max_steps=1", "task.batch_size=2", "attack.eps=0", "certify.sigma=12", "certify.n_samples=10",
    "certify.pictures=1", "estimator=custom", "estimator._target_=tests.sweeps.mortal.Mortal",
]  # fmt: skip
"""Of a sweep whose jobs take a moment; ``+estimator.fate=`` is missing."""
