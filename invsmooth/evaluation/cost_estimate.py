"""The cost of evaluating an image, before anything is computed."""

from __future__ import annotations

from collections.abc import Iterator

from invsmooth.cache import content_key
from invsmooth.certificates.certifiers import prepared
from invsmooth.certificates.draws import Draws
from invsmooth.estimators.frozen import Estimator
from invsmooth.estimators.premises import EVALUATIONS
from invsmooth.evaluation.job_plan import Cost
from invsmooth.evaluation.result_cache import ResultCache
from invsmooth.operators.measurement import Measured


def costs_of_image(estimator: Estimator, cache: ResultCache, measured: Measured, number: int) -> Iterator[Cost]:
    """Of the images ``measured``, the ``number``-th of their setting; none if all is cached."""
    if not cache.has(measured, number):
        yield from attack_costs(cache, measured)
        for sigma in cache.evaluation.sigma:
            yield from clean_costs(estimator, cache, measured, sigma)
        yield from attacked_costs(estimator, cache, measured)
        yield Cost("rest", cache.key(measured, number), rest_evals(cache, number))


def attack_costs(cache: ResultCache, measured: Measured) -> Iterator[Cost]:
    results, evaluation = cache.of(measured), cache.evaluation
    for eps, target in evaluation.attacks:
        key = results.key("attack", evaluation.attack_content(measured, eps, target))
        evals, gradients = evaluation.attack.cost(eps, target.passes(measured.x), target.n_samples)
        yield Cost("attack", key, evals, gradients, results.store.has("attack", key))


def draws_of(estimator: Estimator, cache: ResultCache, measured: Measured, sigma: float) -> Draws:
    """The draws at the clean measurement. None is made here."""
    evaluation = cache.evaluation
    return Draws(
        estimator, measured.setting.operator, measured.y, sigma, measured.x.shape[1:], evaluation.seed,
        list(measured.names), evaluation.chunk_size,
    )  # fmt: skip


def clean_costs(estimator: Estimator, cache: ResultCache, measured: Measured, sigma: float) -> Iterator[Cost]:
    """The draws at the clean measurement serve all radii. Certifiers share those that are kept."""
    results, certifiers = cache.of(measured), cache.evaluation.certifiers_at("clean")
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
    evaluation, certifiers = cache.evaluation, cache.evaluation.certifiers_at("attacked")
    for eps, sigma in evaluation.cells if certifiers else ():
        draws = draws_of(estimator, cache, measured, sigma)
        uses = [use for c in certifiers for use in c.uses(draws, measured.x, evaluation.each(c, sigma))]
        attack = evaluation.attack_content(measured, eps, evaluation.target_of(eps, sigma))
        key = content_key([cache.results.base, "at attacked", attack, sigma, evaluation.n_samples, evaluation.seed])
        yield Cost("draws", key, max(use.draws for use in uses))


def rest_evals(cache: ResultCache, number: int) -> int:
    """Network evaluations of reconstructions, truth checks and pixel intervals, for each image."""
    evaluation = cache.evaluation
    evals = 1 + EVALUATIONS + 2 * len(evaluation.attacks)
    evals += len(evaluation.cells) * bool(evaluation.certifiers_at("attacked"))
    for eps, sigma in evaluation.cells:
        checked = [c for c in evaluation.certifiers if eps > 0 and evaluation.is_checked(c)]
        possible = [c for c in checked if not evaluation.why_impossible(c, eps, sigma)]
        evals += evaluation.check_samples * sum(c.truth_evals for c in possible)
        if evaluation.pixel_intervals != "none" and number < evaluation.pictures:
            evals += 1 + evaluation.smoothing(sigma).n_drawn
    return evals
