"""What all training algorithms share. Each is a mixin in front of this backbone."""

from __future__ import annotations

import math
import resource
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import lightning as L
import torch
from torch import Tensor, nn

from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.core.errors import ConfigError, DivergedError
from invsmooth.core.files import replaced
from invsmooth.core.memory import keep_memory
from invsmooth.core.rng import generator_for, standard_normal
from invsmooth.data.datamodule import NamedImages
from invsmooth.metrics import psnr
from invsmooth.operators.base import LinearOperator
from invsmooth.operators.measurement import Setting, measure

PIXELS_AT_A_TIME = {"cpu": 2**19, "cuda": 2**21}
"""Pixels whose graph is held at a time, where no chunk size is given. ISTA-Net++ as published takes about 12 GB for 2^19:
the 15 draws of 64 patches of 33 x 33 at once would take 25."""
FITTED = 40_000_000
"""Pixels of the patches that a closed-form fit takes."""


@dataclass(frozen=True)
class TrainingSetup:
    """What every training needs, whatever the algorithm."""

    estimator: nn.Module
    train_operators: Sequence[LinearOperator]  # one is drawn for each batch (the compression ratio)
    train_sigma_b: float  # standard deviation of b, [0, 1] pixel scale
    learning_rate: float  # of Adam
    val_settings: Sequence[Setting] = ()  # those of training: the best weights do not depend on the test
    schedule: str = "constant"  # or halve (every halve_every epochs), cosine (to zero over the training)
    halve_every: int = 3
    max_batches: int | None = None  # training stops after so many; None: after the trainer's epochs
    clip: float | None = None  # gradients are clipped to this norm
    seed: int = 0
    description: dict[str, Any] = field(default_factory=dict)  # for the checkpoint: it rebuilds the estimator


class ReconstructionModule(L.LightningModule):
    """Trains ``estimator(y, operator)`` on patches.

    A subclass is a training algorithm. It has :meth:`accumulate_gradients`, ``declared``, and
    ``__init__(setup, …)`` with its parameters. It may take several optimiser steps for each batch:
    the optimisation is manual, while schedules and counts go by batches and epochs. Everything
    drawn in training (operator, b, smoothing noise, starts of attacks) is determined by (seed,
    number of the batch), so that a resumed run draws what an uninterrupted one would."""

    declared: ClassVar[AlgorithmDeclaration]  # how reports name and sort the algorithm
    grey_levels: ClassVar[tuple[str, ...]] = ()  # parameters in grey levels in the config, [0, 1] here
    needs_input_gradient: ClassVar[bool] = False  # whether it differentiates the estimator in its input
    why_not_compiled: ClassVar[str] = ""  # why trainer.compile=true is not allowed; "" if it is
    carried: ClassVar[tuple[str, ...]] = ()  # attributes (a tensor or None) that checkpoints hold, too
    updates: ClassVar[bool] = True  # whether it changes the weights
    updates_per_batch = 1  # optimiser steps

    def __init__(self, setup: TrainingSetup) -> None:
        super().__init__()
        keep_memory()
        self.automatic_optimization = False
        self.setup_ = setup
        self.estimator, self.seed = setup.estimator, setup.seed
        self.train_operators = nn.ModuleList(setup.train_operators)
        # Registered, so that the operators move to the device with the module.
        self.val_operators = nn.ModuleList(s.operator for s in setup.val_settings)
        self.batches_seen = 0
        self.forward_images = 0
        self.watch: Callable[[], None] | None = None  # called before each forward pass of the estimator
        self.stepped = False  # whether this batch has begun to change the weights
        self.save_hyperparameters(setup.description)

    @property
    def evals_per_batch(self) -> int:
        """Forward passes for each patch of a batch; nearly all have a gradient taken through."""
        return self.updates_per_batch

    @abstractmethod
    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        """Add the gradients of one optimiser step by ``self.manual_backward``; return the loss,
        detached.

        Args:
            x: clean patches (B, C, H, W): the target, always.
            b: measurement noise in the shape of y.
            operator: the one drawn for this batch.
            update: 0 … updates_per_batch - 1."""
        raise NotImplementedError(f"{type(self).__name__} is no training algorithm: it has no accumulate_gradients")

    def training_step(self, x: Tensor, batch_idx: int) -> None:
        started, number, images_before = time.perf_counter(), self.batches_seen, self.forward_images
        self.stepped = False
        # The ratio is common to all processes, so that all take equally long.
        choice = int(generator_for(self.seed, "ratio", number).integers(len(self.train_operators)))
        operator = self.train_operators[choice]
        assert isinstance(operator, LinearOperator)
        optimizer = self.optimizers()
        losses = []
        for update in range(self.updates_per_batch):
            b = self.setup_.train_sigma_b * self.draw(operator.A(x).shape, "train b", update).to(x)
            optimizer.zero_grad()  # type: ignore[union-attr]
            try:
                loss = self.accumulate_gradients(x, b, operator, update)
            except FloatingPointError as error:  # the attack met a loss that is not finite
                raise self.diverged(str(error), x, b, operator) from error
            self.check_step(loss)
            if not loss.isfinite():
                raise self.diverged(f"the training loss is {float(loss)}", x, b, operator)
            self.step(optimizer)
            losses.append(loss)
        self.batches_seen += 1
        self.log("train/batch", float(self.batches_seen), batch_size=len(x))  # the x-axis of the loggers
        self.log("train/lr", optimizer.param_groups[0]["lr"], batch_size=len(x))  # type: ignore[union-attr]
        self.step_schedule("step")
        self.log("train/loss", torch.stack(losses).mean(), prog_bar=True, batch_size=len(x), sync_dist=True)
        self.log("train/seconds_per_batch", time.perf_counter() - started, batch_size=len(x))
        self.log("train/network_evals", (self.forward_images - images_before) / len(x), batch_size=len(x))
        self.log("train/peak_memory_mb", peak_memory_mb(x.device), batch_size=len(x))

    def check_step(self, loss: Any) -> None:
        """Raises: ConfigError: an algorithm of anybody's returned no loss, or added no gradients."""
        name = f"algo: {type(self).__name__}.accumulate_gradients"
        if not isinstance(loss, Tensor) or loss.ndim:
            what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise ConfigError(f"{name} returned {what}; the loss is needed, a tensor with one number and without axes")
        if self.updates and self.batches_seen == 0 and all(p.grad is None for p in self.estimator.parameters()):
            raise ConfigError(f"{name} added no gradients: it has to call self.manual_backward(loss)")

    def draw(self, shape: Sequence[int], *keys: str | int) -> Tensor:
        """Standard normal numbers for this batch and process (CPU)."""
        return standard_normal(shape, self.seed, "train", self.batches_seen, self.global_rank, *keys)

    def step(self, optimizer: Any) -> None:
        self.stepped = True
        if self.setup_.clip is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None:  # fp16: the gradients are scaled until the step
                scaler.unscale_(optimizer.optimizer)
            torch.nn.utils.clip_grad_norm_(self.estimator.parameters(), self.setup_.clip)
        optimizer.step()
        project = getattr(self.estimator, "project", None)  # onto the weights for which its constant is proven
        if callable(project):
            project()

    def step_schedule(self, interval: str) -> None:
        if {"halve": "epoch", "cosine": "step"}.get(self.setup_.schedule) == interval:
            self.lr_schedulers().step()  # type: ignore[union-attr]

    def diverged(self, what: str, x: Tensor, b: Tensor, operator: LinearOperator) -> DivergedError:
        """Save the batch at which the loss is not finite; the error names the file."""
        path = Path(self.trainer.default_root_dir) / f"bad_batch_{self.batches_seen}.pt"
        with replaced(path) as temporary:
            torch.save({"x": x, "b": b, "ratio": operator.ratio, "state_dict": self.estimator.state_dict()}, temporary)
        return DivergedError(
            f"{what} at batch {self.batches_seen}, saved with the weights as {path}; lower task.learning_rate, or set "
            "trainer.gradient_clip_val"
        )

    def on_fit_start(self) -> None:
        """Fit what the estimator has in closed form, unless its weights were given.
        Raises ConfigError: the algorithm needs the gradient in the input; there is none."""
        self.counts = self.estimator.register_forward_pre_hook(self.count_images)
        if callable(fit := getattr(self.estimator, "fit", None)) and not bool(self.estimator.fitted):
            fit(self.patches_to_fit(), [*self.train_operators], self.setup_.train_sigma_b)
        if not self.needs_input_gradient:
            return
        operator = self.train_operators[0]
        assert isinstance(operator, LinearOperator)
        channels = self.trainer.datamodule.channels  # type: ignore[attr-defined]
        x = torch.rand(1, channels, 32, 32).to(next(self.estimator.parameters())).requires_grad_()
        with torch.enable_grad():
            x_hat = self.estimator(operator.A(x), operator)
        if not x_hat.requires_grad or torch.autograd.grad(x_hat.sum(), x, allow_unused=True)[0] is None:
            name = type(self.estimator).__name__
            raise ConfigError(f"estimator {name} is not differentiable in its input, which this algorithm needs")

    def patches_to_fit(self) -> Tensor:
        """The first patches of the training, of about FITTED pixels: the same in every process."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        batches, n = data.patch_batches(), data.patches
        count = math.ceil(FITTED / n.patch_size**2 / n.batch_size)
        return torch.cat([batches[k] for k in range(count)])

    def on_fit_end(self) -> None:
        # A copy of the estimator would copy what the hook holds: this module with its trainer and data.
        self.counts.remove()

    @torch.compiler.disable  # a count in the compiled graph would recompile it at every call
    def count_images(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        if self.watch is not None:
            self.watch()
        self.forward_images += len(arguments[0])

    def on_train_epoch_end(self) -> None:
        self.step_schedule("epoch")

    def validation_step(self, batch: NamedImages, batch_idx: int) -> None:
        values = []
        for setting in self.setup_.val_settings:
            measured = measure(setting, batch.names, batch.x)
            values.append(psnr(self.estimator(measured.y, setting.operator).to(batch.x.dtype), batch.x))
        value = torch.cat(values).mean()
        self.log("val/psnr", value, prog_bar=True, on_epoch=True, batch_size=len(batch.names), sync_dist=True)
        self.log("train/batch", float(self.batches_seen), reduce_fx="max", batch_size=len(batch.names), sync_dist=True)

    def configure_optimizers(self) -> Any:
        setup = self.setup_
        optimizer = torch.optim.Adam(self.estimator.parameters(), lr=setup.learning_rate)
        if setup.schedule == "halve":
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, setup.halve_every, gamma=0.5)]
        if setup.schedule == "cosine":
            total = setup.max_batches or int(self.trainer.estimated_stepping_batches)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)]
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["batches_seen"] = self.batches_seen
        checkpoint.update({name: getattr(self, name) for name in self.carried})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_seen = checkpoint["batches_seen"]
        for name in self.carried:
            value = checkpoint.get(name)
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else None)


def draws_that_fit(x: Tensor, n_samples: int) -> int:
    """Draws of each patch of a batch x (B, C, H, W) at a time, by PIXELS_AT_A_TIME; at least one."""
    return max(1, min(n_samples, PIXELS_AT_A_TIME.get(x.device.type, 2**21) // x.numel()))


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held so far: by tensors on a GPU, by the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if TYPE_CHECKING:
    AlgorithmMixin = ReconstructionModule
else:

    class AlgorithmMixin:
        """To the type checker, a mixin is the backbone that it will stand in front of."""
