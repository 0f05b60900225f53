"""The attacks on measured images, and the reconstructions under them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from invsmooth.attacks import AttackResult, Target, attack
from invsmooth.attacks.ball import on_sphere
from invsmooth.cache import Like, Remember
from invsmooth.estimators.premises import Checked
from invsmooth.evaluation.settings import Evaluation
from invsmooth.evaluation.watch import QUIET, EvaluationWatch
from invsmooth.metrics import psnr, ssim
from invsmooth.operators.measurement import Measured

log = logging.getLogger(__name__)

Quality = dict[str, list[float]]
"""Columns of the rows -> the value of each image."""


def quality(what: str, x_hat: Tensor, x: Tensor) -> Quality:
    return {f"psnr_{what}": psnr(x_hat, x).tolist(), f"ssim_{what}": ssim(x_hat, x).tolist()}


@dataclass(frozen=True)
class AttackedImages:
    """An attack on a batch of images: the attacked measurements y, their reconstructions x_hat, and
    the quality under the attack and under random noise of the same norm (the control)."""

    found: AttackResult
    y: Tensor
    x_hat: Tensor
    quality: Quality


def attack_all(
    estimator: Checked, measured: Measured, evaluation: Evaluation, remember: Remember, watch: EvaluationWatch = QUIET
) -> dict[tuple[float, Target], AttackedImages]:
    """The attacks of all cells, by eps and target."""
    started, found = time.perf_counter(), {}
    for eps, target in evaluation.attacks:
        watch.doing(f"attack at eps = {eps:g}")
        result = cached_attack(estimator, measured, evaluation, eps, target, remember)
        found[eps, target] = under_attack(estimator, measured, result, eps, evaluation.seed)
    seconds = time.perf_counter() - started
    log.info("%s (%s): %d attacks in %.1f s", ", ".join(measured.names), measured.setting, len(found), seconds)
    return found


def cached_attack(
    estimator: Checked, measured: Measured, evaluation: Evaluation, eps: float, target: Target, remember: Remember
) -> AttackResult:
    """Search, unless the result is cached."""

    def search() -> dict[str, Tensor]:
        found = attack(
            evaluation.attack, estimator, measured.setting.operator, measured.x, measured.b, eps=eps, target=target,
            precision=evaluation.attack_precision,
            seed=evaluation.seed, image_keys=measured.names,
        )  # fmt: skip
        return {k: torch.as_tensor(v) for k, v in vars(found).items()}

    images, count, flag = len(measured.x), Like(dtype=torch.int64), Like(dtype=torch.bool)
    expected = {
        "xi": Like(tuple(measured.x.shape)), "loss": Like((images,)), "losses": Like((images, None), finite=False),
        "zero_gradient": Like((images,), torch.bool), "grad_evals": count, "network_evals": count, "bf16": flag,
    }  # fmt: skip
    found = remember("attack", evaluation.attack_content(measured, eps, target), search, expected)
    values: dict[str, Any] = {k: v.item() if expected[k] in (count, flag) else v for k, v in found.items()}
    return AttackResult(**values)


def under_attack(estimator: Checked, measured: Measured, found: AttackResult, eps: float, seed: int) -> AttackedImages:
    """Reconstruct under the attack, and under the control."""
    operator, x = measured.setting.operator, measured.x
    y = operator.A(x + found.xi) + measured.b
    x_hat = estimator(y, operator)
    random = on_sphere(x, eps, seed, measured.names, number=-1)  # those of the attack's starts are 0, 1, …
    control = estimator(operator.A(x + random) + measured.b, operator)
    return AttackedImages(found, y, x_hat, quality("attacked", x_hat, x) | {"psnr_noise": psnr(control, x).tolist()})
