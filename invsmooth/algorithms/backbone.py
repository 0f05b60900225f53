"""The reconstruction backbone: everything that the training algorithms share. Each algorithm is a mixin in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from invsmooth.data.datamodule import NamedImages
from invsmooth.measurement import Measured, Setting, measure
from invsmooth.metrics import psnr, ssim
from invsmooth.operators.base import LinearOperator
from invsmooth.rng import generator_for, standard_normal
from invsmooth.units import to_unit_scale


class ReconstructionModule(L.LightningModule):
    """Trains ``estimator(y, operator)`` on patches and measures test images; an algorithm mixin gives ``training_loss``.

    Each training batch draws one of the training operators (the compression ratio) and fresh noise b, both determined
    by (seed, number of the batch), so that a resumed run draws what an uninterrupted one would.

    Args:
        estimator: the network.
        train_operators: one is drawn for each batch.
        train_sigma_b: standard deviation of b in training, grey levels.
        settings: measurement settings of validation and test.
        learning_rate: of Adam.
        schedule: ``"constant"``, ``"halve"`` (every ``halve_every`` epochs) or ``"cosine"`` (to zero over the training).
        halve_every: epochs.
        max_batches: training stops after so many batches; None: after the trainer's epochs.
        seed: of everything drawn.
        description: plain values kept in the checkpoint, from which the estimator is rebuilt.
    """

    def __init__(
        self, *, estimator: nn.Module, train_operators: Sequence[LinearOperator], train_sigma_b: float,
        settings: Sequence[Setting], learning_rate: float, schedule: str, halve_every: int, max_batches: int | None,
        seed: int, description: dict[str, Any],
    ) -> None:  # fmt: skip
        super().__init__()
        self.estimator = estimator
        self.train_operators = nn.ModuleList(train_operators)
        self.train_sigma_b = to_unit_scale(train_sigma_b)
        self.settings = list(settings)
        # Registered as well, so that the operators of the settings move with the module.
        self.test_operators = nn.ModuleList(s.operator for s in settings)
        self.learning_rate, self.schedule, self.halve_every = learning_rate, schedule, halve_every
        self.max_batches, self.seed = max_batches, seed
        self.batches_seen = 0
        self.save_hyperparameters(description)

    def training_loss(self, x: Tensor, b: Tensor, operator: LinearOperator) -> Tensor:
        """The algorithm's loss of a batch, a scalar; ``x`` clean patches (B, 1, H, W), ``b`` noise in the shape of y."""
        raise NotImplementedError(f"{type(self).__name__} mixes in no training algorithm")

    def training_step(self, x: Tensor, batch_idx: int) -> Tensor:
        # Ranks differ in their patches; the drawn ratio is common, so that all take equally long.
        number = self.batches_seen
        choice = torch.randint(len(self.train_operators), (), generator=generator_for(self.seed, "ratio", number))
        operator = self.train_operators[int(choice)]
        assert isinstance(operator, LinearOperator)
        shape = operator.A(x).shape
        b = self.train_sigma_b * standard_normal(shape, self.seed, "train b", number, self.global_rank).to(x)
        loss = self.training_loss(x, b, operator)
        if not loss.isfinite():
            raise FloatingPointError(
                f"the training loss is {float(loss.detach())} at batch {number}; lower task.learning_rate, or set "
                "trainer.gradient_clip_val"
            )
        self.batches_seen += 1
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(x))
        return loss

    def validation_step(self, batch: NamedImages, batch_idx: int) -> None:
        values = []
        for setting in self.settings:
            measured = measure(setting, batch.names, batch.x, self.seed)
            values.append(psnr(self.estimator(measured.y, setting.operator), batch.x))
        value = torch.cat(values).mean()
        self.log("val/psnr", value, prog_bar=True, on_epoch=True, batch_size=len(batch.names), sync_dist=True)

    def test_step(self, batch: NamedImages, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Measure and reconstruct. The attack and certificate sweeps are callbacks that go on from what this returns:
        ``measured`` (:class:`Measured`) and ``x_hat`` (B, 1, H, W)."""
        measured: Measured = measure(self.settings[dataloader_idx], batch.names, batch.x, self.seed)
        x_hat = self.estimator(measured.y, measured.setting.operator)
        name = f"test/{measured.setting}"
        for metric, value in (("psnr", psnr(x_hat, batch.x)), ("ssim", ssim(x_hat, batch.x))):
            self.log(
                f"{name}/{metric}", value.mean(), batch_size=len(batch.names), add_dataloader_idx=False, sync_dist=True
            )
        return {"measured": measured, "x_hat": x_hat}

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.estimator.parameters(), lr=self.learning_rate)
        if self.schedule == "halve":
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, self.halve_every, gamma=0.5)]
        if self.schedule == "cosine":
            total = self.max_batches or int(self.trainer.estimated_stepping_batches)
            annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
            return [optimizer], [{"scheduler": annealing, "interval": "step"}]
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]
