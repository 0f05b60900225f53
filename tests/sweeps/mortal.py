"""An estimator whose job meets a given end, and the sweep of three jobs with three ends that the tests run."""

from __future__ import annotations

import os
import signal
import time

import torch
from torch import Tensor

from invsmooth.core.errors import CertificateViolation
from invsmooth.operators import LinearOperator

TESTED = 24
"""Width of the images that are tested on, and of no others."""


class Mortal(torch.nn.Module):
    """x_hat = gain · A^T y.

    Args:
        fate: ``"lives"``; ``"fails"`` raises an error; ``"dies"`` kills the process as the kernel does when memory runs out;
            ``"refuted"`` finds in the second of several processes, in the evaluation, that a certificate is wrong.
        seconds: before that, and before it goes on to live.
    """

    def __init__(self, fate: str, seconds: float = 0) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))
        self.fate = fate
        time.sleep(seconds)
        if fate == "fails":
            raise RuntimeError("a bug of the estimator")
        if fate == "dies":
            os.kill(os.getpid(), signal.SIGKILL)

    def forward(self, y: Tensor, operator: LinearOperator) -> Tensor:
        evaluates = y.shape[-1] == TESTED and torch.distributed.is_initialized()  # not tried before the work
        if self.fate == "refuted" and evaluates and os.environ.get("LOCAL_RANK") == "1":
            raise CertificateViolation("certificate refuted by an attack: the one of this test")
        return self.gain * operator.A_adjoint(y)


ARGUMENTS = [
    "trainer.progress_bar=false", "trainer.num_threads=1", "trainer.max_steps=1", "task=denoise_small", "task.batch_size=2",
    f"data.crop={TESTED}", "data.val_crop=32", "data.limit=1", "attack.eps=0", "certify.sigma=12", "certify.n_samples=10",
    "certify.pictures=1", "cache=null", "estimator=custom", "estimator._target_=tests.sweeps.mortal.Mortal",
]  # fmt: skip
"""Of a run that takes a moment; ``+estimator.fate=`` is missing."""
