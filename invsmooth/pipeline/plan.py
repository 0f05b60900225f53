"""``sweep=plan``: say what there is to do, what is done and what is impossible, and how long the rest would take."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from invsmooth.cache import Store, content_key
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import architecture, frozen
from invsmooth.evaluation.cost_estimate import steps_of_image
from invsmooth.evaluation.job_plan import JobPlan, Step
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import measure
from invsmooth.pipeline.build import build_attack, build_plan, build_result_cache, training_key
from invsmooth.training import ReconstructionModule
from invsmooth.training.kept_trainings import Training


def plan_job(
    cfg: DictConfig, module: ReconstructionModule, data: ImageDataModule, store: Store, trains: bool, name: str
) -> JobPlan:
    """Everything but the computation: keys, what is kept under them, and the cost of what is not."""
    steps: list[Step] = []
    training = ""
    identity: nn.Module | str = module.estimator
    if trains:
        kept = None
        if store.folder is not None and not cfg.resume:
            kept = Training(store.folder, training_key(cfg, module, data), module.state_dict())
        if kept is not None and kept.finished():
            training = "done"
            module.load_state_dict(torch.load(kept.best, map_location="cpu", weights_only=True)["state_dict"])
        else:
            step = training_step(cfg, module, content_key(str(cfg)) if kept is None else kept.folder.name)
            training = "to do"
            if kept is not None and (last := kept.latest()) is not None:
                seen = torch.load(last, map_location="cpu", weights_only=True)["batches_seen"]
                training = f"goes on after {seen} batches"
            steps, identity = [step], step.key
    plan, attack = build_plan(cfg, data.n_tested), build_attack(cfg)
    recall, _ = build_result_cache(cfg, identity, data, store, module.settings)
    per_image, done = len(plan.eps) * len(plan.sigma) * len(plan.certifiers), 0
    for setting in module.settings:
        for number, batch in enumerate(data.whole_images("test")):
            measured = measure(setting, batch.names, batch.x)
            found = list(
                steps_of_image(module.estimator, recall, plan, attack, cfg.attack.check_samples, measured, number)
            )
            done += not found
            steps += timed(found, module.estimator, measured.y, setting.operator)
    none = sum(bool(plan.why_impossible(c, e, s)) for c in plan.certifiers for e in plan.eps for s in plan.sigma)
    return JobPlan(name, per_image * data.n_tested, per_image * done, none * data.n_tested, training, steps)


def training_step(cfg: DictConfig, module: ReconstructionModule, key: str) -> Step:
    """The whole training; validation is left out of its cost."""
    task, size = cfg.task, cfg.task.patch_size
    batches = math.ceil(task.n_patches / task.batch_size) * cfg.trainer.max_epochs
    batches = batches if cfg.trainer.max_steps is None else min(batches, cfg.trainer.max_steps)
    operator = module.train_operators[0]
    assert isinstance(operator, LinearOperator)
    y = operator.A(torch.zeros(task.batch_size, 1, size, size))
    evals = batches * module.evals_per_batch * task.batch_size
    gradient = seconds_of(module.estimator, y, operator)[1]
    return Step("training", key, evals, evals, seconds=evals * gradient)


def timed(steps: Sequence[Step], estimator: nn.Module, y: Tensor, operator: LinearOperator) -> Iterator[Step]:
    """The steps with their estimated seconds."""
    if steps:
        forward, gradient = seconds_of(estimator, y, operator)
        for step in steps:
            seconds = (step.evals - step.gradients) * forward + step.gradients * gradient
            yield dataclasses.replace(step, seconds=seconds)


def seconds_of(estimator: nn.Module, y: Tensor, operator: LinearOperator) -> tuple[float, float]:
    """Seconds of a forward pass, and of one with a gradient through it, for each image of y. Measured here and now, once for
    each network and size."""
    key = content_key([architecture(estimator), list(y.shape), type(operator).__name__])
    if key not in SECONDS:
        found = []
        with frozen(estimator):
            for takes_gradient in (False, True, False, True):  # the first of each warms up
                y = y.detach().clone().requires_grad_(takes_gradient)
                started = time.perf_counter()
                with torch.set_grad_enabled(takes_gradient):
                    x_hat = estimator(y, operator)
                    if takes_gradient and x_hat.requires_grad:
                        torch.autograd.grad(x_hat.sum(), y)
                found.append((time.perf_counter() - started) / len(y))
        SECONDS[key] = found[2], found[3]
    return SECONDS[key]


SECONDS: dict[str, tuple[float, float]] = {}
"""What was measured in this process."""
