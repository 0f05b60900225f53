"""``sweep=plan``: what there is to do, what is cached or impossible, and how long it would take."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from invsmooth.cache import content_key
from invsmooth.certificates.certifiers import prepared
from invsmooth.certificates.draws import Draws
from invsmooth.data.datamodule import ImageDataModule
from invsmooth.estimators.frozen import Estimator, architecture, frozen
from invsmooth.estimators.premises import EVALUATIONS
from invsmooth.evaluation.job_plan import Cost, JobPlan
from invsmooth.evaluation.result_cache import ResultCache
from invsmooth.operators import LinearOperator
from invsmooth.operators.measurement import Measured, Setting, measure
from invsmooth.pipeline.overhead import seconds_of_cells, seconds_of_noise
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
            forward, gradient, noise, beside = seconds_of_image(estimator, cache, measured) if found else (0.0,) * 4
            for cost in found:
                forward_only, rest = cost.evals - cost.gradients, cost.kind == "rest"
                seconds = forward_only * forward + cost.gradients * gradient + (beside if rest else 0)
                seconds += forward_only * noise if cost.kind != "attack" else 0
                costs.append(dataclasses.replace(cost, seconds=seconds))
    cells = [(certifier, *cell) for cell in evaluation.cells for certifier in evaluation.certifiers_in(cell[1])]
    per_image = [bool(evaluation.why_impossible(*cell)) for cell in cells]
    n = data.n_tested
    return JobPlan(name, len(per_image) * n, len(per_image) * done, sum(per_image) * n, "", costs)


def costs_of_image(estimator: Estimator, cache: ResultCache, measured: Measured, number: int) -> Iterator[Cost]:
    """Of the images ``measured``, the ``number``-th of their setting; none if all is cached."""
    if cache.has(measured, number):
        return
    results, evaluation = cache.of(measured), cache.evaluation
    for eps, target in evaluation.attacks:
        key = results.key("attack", evaluation.attack_content(measured, eps, target))
        evals, gradients = evaluation.attack.cost(eps, target.passes(measured.x), target.n_samples)
        yield Cost("attack", key, evals, gradients, results.store.has("attack", key))
    for sigma in evaluation.levels:
        if sigma is not None:
            yield from clean_costs(estimator, cache, measured, sigma)
    yield from attacked_costs(estimator, cache, measured)
    yield Cost("rest", cache.key(measured, number), rest_evals(cache, number))


def draws_of(estimator: Estimator, cache: ResultCache, measured: Measured, sigma: float) -> Draws:
    """The draws at the clean measurement. None is made here."""
    evaluation = cache.evaluation
    return Draws(
        estimator, measured.setting.operator, measured.y, sigma, measured.x.shape[1:], evaluation.seed,
        list(measured.names), evaluation.chunk_size,
    )  # fmt: skip


def clean_costs(estimator: Estimator, cache: ResultCache, measured: Measured, sigma: float) -> Iterator[Cost]:
    """The draws at the clean measurement serve all radii. Certifiers share those that are kept."""
    results, certifiers = cache.of(measured), cache.evaluation.certifiers_at("clean", sigma)
    each = {c: cache.evaluation.each(c, sigma) for c in certifiers}
    draws = prepared(draws_of(estimator, cache, measured, sigma), each, None, measured.x)
    uses = [use for c in certifiers for use in c.uses(draws, measured.x, each[c])]
    made, shared = 0, draws.shared
    for (kind, key), needed in {(u.kind, results.key(u.kind, u.content)): u.draws for u in uses}.items():
        cached = results.store.has(kind, key)
        room = 0 if shared is None else shared.buffer.file_bytes
        yield Cost("draws", key, max(0, needed - made), cached=cached, file_bytes=room)
        if shared is not None and not cached:
            made = max(made, min(needed, shared.n_samples))


def attacked_costs(estimator: Estimator, cache: ResultCache, measured: Measured) -> Iterator[Cost]:
    """The attacked measurements are not known yet: the keys are made from the attacks."""
    evaluation = cache.evaluation
    attacks = {a: content_key(evaluation.attack_content(measured, *a)) for a in evaluation.attacks}
    for eps, sigma in evaluation.cells:
        if sigma is None or not (certifiers := evaluation.certifiers_at("attacked", sigma)):
            continue
        draws = draws_of(estimator, cache, measured, sigma)
        uses = [use for c in certifiers for use in c.uses(draws, measured.x, evaluation.each(c, sigma))]
        attack = attacks[eps, evaluation.target_of(eps, sigma)]
        key = content_key([cache.results.base, "at attacked", attack, sigma, evaluation.n_samples, evaluation.seed])
        yield Cost("draws", key, max(use.draws for use in uses))


def rest_evals(cache: ResultCache, number: int) -> int:
    """Network evaluations of reconstructions, truth checks and pixel intervals, for each image."""
    evaluation = cache.evaluation
    evals = 1 + EVALUATIONS + 2 * len(evaluation.attacks)
    evals += len(evaluation.certifiers_at("clean", None))  # one for each that does not smooth
    for eps, sigma in evaluation.cells:
        attacked = evaluation.certifiers_at("attacked", sigma)
        evals += len(attacked) if sigma is None else bool(attacked)
        checked = [c for c in evaluation.certifiers_in(sigma) if eps > 0 and evaluation.is_checked(c)]
        possible = [c for c in checked if not evaluation.why_impossible(c, eps, sigma)]
        evals += sum(c.truth_cost(evaluation.check_samples) for c in possible)
        if evaluation.pixel_intervals != "none" and number < evaluation.pictures and sigma is not None:
            evals += 1 + evaluation.smoothing(sigma).n_drawn
    return evals


def training_cost(module: ReconstructionModule, data: ImageDataModule, settings: TrainerSettings, key: str) -> Cost:
    """Of the whole training, without validation."""
    patches = data.patches
    batches = math.ceil(patches.n_patches / patches.batch_size) * settings.max_epochs
    batches = batches if settings.max_steps is None else min(batches, settings.max_steps)
    operator = module.train_operators[0]
    assert isinstance(operator, LinearOperator)
    y = operator.A(torch.zeros(patches.batch_size, data.channels, patches.patch_size, patches.patch_size))
    evals = batches * module.evals_per_batch * patches.batch_size
    gradient = seconds_of(module.estimator, y, operator)[1]
    return Cost("training", key, evals, evals, seconds=evals * gradient)


def seconds_of_image(estimator: nn.Module, cache: ResultCache, measured: Measured) -> tuple[float, float, float, float]:
    """Of a pass, a gradient, the noise of a draw, and all cells beside these: measured once for jobs
    that differ in values of seed, eps and sigma only."""
    evaluation = cache.evaluation
    grid = {"seed": 0, "eps": len(evaluation.eps), "sigma": len(evaluation.sigma)}
    key = content_key([evaluation.content() | grid, list(measured.x.shape), type(measured.setting.operator).__name__])
    if key not in CELLS:
        CELLS[key] = seconds_of_cells(evaluation, measured, cache.results.store.folder)
    noise = seconds_of_noise(measured.x.shape[1:])
    return *seconds_of(estimator, measured.y, measured.setting.operator), noise, CELLS[key]


def seconds_of(estimator: nn.Module, y: Tensor, operator: LinearOperator) -> tuple[float, float]:
    """Of a forward pass, and of one with a gradient through it, for each image of y. Measured once
    for each network and size: the shortest of some, for other processes interrupt."""
    key = content_key([architecture(estimator), list(y.shape), type(operator).__name__])
    if key not in SECONDS:
        found: dict[bool, list[float]] = {False: [], True: []}
        with frozen(estimator):
            for k in range(10):
                if k >= 4 and sum(map(sum, found.values())) > 1 / len(y):  # the first of each warms up
                    break
                takes_gradient = k % 2 == 1
                y = y.detach().clone().requires_grad_(takes_gradient)
                started = time.perf_counter()
                with torch.set_grad_enabled(takes_gradient):
                    x_hat = estimator(y, operator)
                    if takes_gradient and x_hat.requires_grad:
                        torch.autograd.grad(x_hat.sum(), y)
                found[takes_gradient].append((time.perf_counter() - started) / len(y))
        SECONDS[key] = min(found[False][1:]), min(found[True][1:])
    return SECONDS[key]


SECONDS: dict[str, tuple[float, float]] = {}  # measured in this process
CELLS: dict[str, float] = {}
