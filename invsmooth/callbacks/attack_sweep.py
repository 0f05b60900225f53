"""Attack every test image at every radius, in Lightning's test loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L

from invsmooth.algorithms.backbone import ReconstructionModule
from invsmooth.attacks import pgd
from invsmooth.measurement import Measured

log = logging.getLogger(__name__)


class AttackSweep(L.Callback):
    """Adds ``attacks`` (eps -> AttackResult) to what the module's test step returned. The attack depends on eps and not on
    sigma, so the certificate sweep that comes after this callback shares it.

    Args:
        eps: l2 radii, [0, 1] pixel scale.
        settings: keywords of :func:`invsmooth.attacks.pgd` but eps and seed.
        seed: of random starts.
    """

    def __init__(self, eps: Sequence[float], settings: Mapping[str, Any], seed: int) -> None:
        self.eps, self.settings, self.seed = list(eps), dict(settings), seed

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(pl_module, ReconstructionModule)
        measured: Measured = outputs["measured"]
        started = time.perf_counter()
        operator = measured.setting.operator
        outputs["attacks"] = {
            eps: pgd(pl_module.estimator, operator, measured.x, measured.b, eps=eps, seed=self.seed, **self.settings)
            for eps in self.eps
        }
        seconds = time.perf_counter() - started
        log.info("%s (%s): %d attacks in %.1f s", ", ".join(measured.names), measured.setting, len(self.eps), seconds)
