"""What an evaluation would compute, before it computes anything: the steps of each image, with keys and costs."""

from __future__ import annotations

from collections.abc import Iterator

from invsmooth.cache import content_key
from invsmooth.certificates.center import centre_content, predictions
from invsmooth.certificates.certifiers import shared_draws
from invsmooth.certificates.draws import Draws
from invsmooth.certificates.impossible import PERCENTILE_CERTIFIERS
from invsmooth.certificates.mean import centre_draws, moments_content
from invsmooth.certificates.percentile import errors_content
from invsmooth.core.units import to_unit_scale
from invsmooth.estimators.frozen import Estimator
from invsmooth.estimators.premises import EVALUATIONS
from invsmooth.evaluation.attack_sweep import AttackPlan
from invsmooth.evaluation.job_plan import Step
from invsmooth.evaluation.result_cache import ResultCache
from invsmooth.evaluation.settings import CertifyPlan
from invsmooth.operators.measurement import Measured
from invsmooth.records.rows import AT_ATTACKED


def steps_of_image(
    estimator: Estimator, recall: ResultCache, plan: CertifyPlan, attack: AttackPlan, check_samples: int, measured: Measured,
    number: int,
) -> Iterator[Step]:  # fmt: skip
    """The steps of the images ``measured``, the ``number``-th of their setting; none where all cells are there."""
    if recall.results.store.has("cells", recall.key(measured, number)):
        return
    yield from attack_steps(recall, attack, measured)
    yield from clean_steps(estimator, recall, plan, measured)
    cells = [(eps, sigma) for eps in plan.eps for sigma in plan.sigma]
    if AT_ATTACKED in plan.certifiers:
        for eps, sigma in cells:
            found = attack.content(measured, eps, attack.target_of(eps, sigma))
            key = content_key([recall.results.base, "at attacked", found, sigma, plan.n_samples, plan.seed])
            yield Step("draws", key, n_drawn(plan, sigma))
    evals = 1 + EVALUATIONS + 2 * len({(eps, attack.target_of(eps, sigma)) for eps, sigma in cells})
    evals += len(cells) * (AT_ATTACKED in plan.certifiers)
    for eps, sigma in cells:
        if eps > 0 and check_samples:
            checked = [c for c in plan.certifiers if c != "radius" or plan.radius_checked_of]
            evals += check_samples * sum(
                2 if c == "mean" else 1 for c in checked if not plan.why_impossible(c, eps, sigma)
            )
        if plan.bands != "none" and number < recall.n_pictures:
            evals += 1 + n_drawn(plan, sigma)
    yield Step("rest", recall.key(measured, number), evals)


def n_drawn(plan: CertifyPlan, sigma: float) -> int:
    """Without noise all draws are the same one."""
    return plan.n_samples if sigma > 0 else 1


def attack_steps(recall: ResultCache, attack: AttackPlan, measured: Measured) -> Iterator[Step]:
    results, n_iter = recall.of(measured), int(attack.settings["n_iter"])
    for eps, target in {(eps, attack.target_of(eps, sigma)): None for eps in attack.eps for sigma in attack.sigma}:
        key = results.key("attack", attack.content(measured, eps, target))
        restarts = int(attack.settings.get("restarts", 1))
        evals, gradients = attack_cost(attack.name, eps, target.passes(measured.x), n_iter, restarts, target.n_samples)
        yield Step("attack", key, evals, gradients, results.store.has("attack", key))


def attack_cost(
    name: str, eps: float, passes: tuple[int, int], n_iter: int, restarts: int, n_samples: int
) -> tuple[int, int]:
    """Forward passes of an attack on one image, and how many of them have a gradient taken through.

    Args:
        passes: of each gradient (:meth:`invsmooth.attacks.Target.passes`).
        n_samples: passes that tell the loss.
    """
    if eps == 0:
        return n_samples, 0
    if name == "noise":
        return n_iter * n_samples, 0
    return restarts * (n_iter * passes[0] + n_samples), restarts * n_iter * passes[1]


def clean_steps(estimator: Estimator, recall: ResultCache, plan: CertifyPlan, measured: Measured) -> Iterator[Step]:
    """The draws at the clean measurement, which serve all radii."""
    results = recall.of(measured)
    wanted = [c for c in plan.certifiers if c != AT_ATTACKED]
    about_x = "error" in wanted or ("radius" in wanted and plan.radius_of == "error")
    for sigma in plan.sigma:
        draws = Draws(
            estimator, measured.setting.operator, measured.y, to_unit_scale(sigma), measured.x.shape[1:], plan.seed,
            list(measured.names), plan.chunk_size,
        )  # fmt: skip
        n_centre = centre_draws(plan.n_centre, plan.n_samples)
        n_pred = predictions(plan.n_pred, plan.confidence_each("center"))
        draws = shared_draws(draws, wanted, plan.n_samples, n_centre)
        n = n_drawn(plan, sigma)
        n_centre, n_pred = (n_centre, n_pred) if sigma > 0 else (1, 1)
        uses = []  # what is kept, and the draws that it takes
        if any(c in PERCENTILE_CERTIFIERS for c in wanted):
            uses.append(("errors", errors_content(draws, {"error": measured.x} if about_x else {}, n), n))
        if "mean" in wanted:
            content = moments_content(draws.image(0), measured.x[0], n_centre, n)
            uses.append(("moments", content, n_centre + n))
        if "center" in wanted:
            uses.append(("centre", centre_content(draws.image(0), n_pred, n), 2 * n_pred + n))
        made = 0
        for what, content, needed in uses:
            key = results.key(what, content)
            kept = results.store.has(what, key)
            room = 0 if draws.made is None else draws.made.kept.file_bytes
            yield Step("draws", key, max(0, needed - made), kept=kept, file_bytes=room)
            if draws.made is not None and not kept:
                made = max(made, min(needed, draws.made.n_samples))
