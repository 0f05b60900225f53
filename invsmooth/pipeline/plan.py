"""``sweep=plan``: what there is to do, what is cached or impossible, and how long it would take."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from invsmooth.cache import content_key
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import architecture, frozen
from invsmooth.evaluation.cost_estimate import costs_of_image
from invsmooth.evaluation.job_plan import Cost, JobPlan
from invsmooth.evaluation.result_cache import ResultCache
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import Setting, measure
from invsmooth.training import ReconstructionModule
from invsmooth.training.fit import TrainerSettings
from invsmooth.training.kept_trainings import Training


def plan_training(
    module: ReconstructionModule, data: ImageDataModule, settings: TrainerSettings, cached: Training | None, key: str
) -> tuple[str, Cost | None]:
    """The state of the training in words, and its cost; None for a finished one, whose weights are
    loaded."""
    if cached is not None and cached.finished():
        module.load_state_dict(torch.load(cached.best, map_location="cpu", weights_only=True)["state_dict"])
        return "done", None
    state = "to do"
    if cached is not None and (last := cached.latest()) is not None:
        seen = torch.load(last, map_location="cpu", weights_only=True)["batches_seen"]
        state = f"goes on after {seen} batches"
    return state, training_cost(module, data, settings, key)


def plan_evaluation(
    name: str, estimator: nn.Module, settings: Sequence[Setting], data: ImageDataModule, cache: ResultCache
) -> JobPlan:
    """Everything but the computation: keys, what is cached under them, and the cost of the rest."""
    evaluation, done = cache.evaluation, 0
    costs: list[Cost] = []
    for setting in settings:
        for number, batch in enumerate(data.whole_images("test")):
            measured = measure(setting, batch.names, batch.x)
            found = list(costs_of_image(estimator, cache, measured, number))
            done += not found
            costs += timed(found, estimator, measured.y, setting.operator)
    per_image = [bool(evaluation.why_impossible(c, *cell)) for c in evaluation.certifiers for cell in evaluation.cells]
    n = data.n_tested
    return JobPlan(name, len(per_image) * n, len(per_image) * done, sum(per_image) * n, "", costs)


def training_cost(module: ReconstructionModule, data: ImageDataModule, settings: TrainerSettings, key: str) -> Cost:
    """Of the whole training, without validation."""
    patches = data.patches
    batches = math.ceil(patches.n_patches / patches.batch_size) * settings.max_epochs
    batches = batches if settings.max_steps is None else min(batches, settings.max_steps)
    operator = module.train_operators[0]
    assert isinstance(operator, LinearOperator)
    y = operator.A(torch.zeros(patches.batch_size, 1, patches.patch_size, patches.patch_size))
    evals = batches * module.evals_per_batch * patches.batch_size
    gradient = seconds_of(module.estimator, y, operator)[1]
    return Cost("training", key, evals, evals, seconds=evals * gradient)


def timed(costs: Sequence[Cost], estimator: nn.Module, y: Tensor, operator: LinearOperator) -> Iterator[Cost]:
    if costs:
        forward, gradient = seconds_of(estimator, y, operator)
        for cost in costs:
            seconds = (cost.evals - cost.gradients) * forward + cost.gradients * gradient
            yield dataclasses.replace(cost, seconds=seconds)


def seconds_of(estimator: nn.Module, y: Tensor, operator: LinearOperator) -> tuple[float, float]:
    """Of a forward pass, and of one with a gradient through it, for each image of y. Measured once
    for each network and size."""
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
