"""Attack every test image in every cell (eps, sigma), in Lightning's test loop."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from invsmooth.attacks import APGD, PGD, AttackResult, Noise, Target, attack
from invsmooth.attacks.ball import on_sphere
from invsmooth.attacks.targets import BASE
from invsmooth.cache import Like, Remember, not_kept
from invsmooth.core.units import to_unit_scale
from invsmooth.estimators.premises import Checked
from invsmooth.operators.measurement import Measured
from invsmooth.training.backbone import ReconstructionModule

log = logging.getLogger(__name__)

SEARCHES: Mapping[str, Any] = {search.name: search for search in (PGD, APGD, Noise)}
CONTROL = -1
"""Number of the control among the random perturbations of an image; those of the attack's starts are 0, 1, …"""


RememberOf = Callable[[Measured], Remember]
"""What keeps the results about a batch of measurements."""


def none_kept(measured: Measured) -> Remember:
    return not_kept


@dataclass(frozen=True)
class AttackPlan:
    """What to attack. eps as an l2 norm on the [0, 1] pixel scale, sigma in grey levels.

    Attributes:
        name: of the search.
        eps, sigma: the cells.
        settings: keywords of the search (n_iter, …).
        target: whose error is maximised; its sigma is that of the cell.
        seed: of random starts and of the target's draws.
    """

    name: str
    eps: Sequence[float]
    sigma: Sequence[float]
    settings: Mapping[str, Any]
    target: Target
    seed: int

    def target_of(self, eps: float, sigma: float) -> Target:
        """The target of a cell. Cells of one eps with the same target share the attack."""
        if self.target.kind == "base" or eps == 0:
            return BASE
        return dataclasses.replace(self.target, sigma=to_unit_scale(sigma))

    def content(self, measured: Measured, eps: float, target: Target) -> dict[str, Any]:
        """What determines an attack beside estimator and operator."""
        return {"name": self.name, "settings": dict(self.settings), "seed": self.seed, "eps": eps, "target": target,
                "x": measured.x, "b": measured.b, "y": measured.y, "names": list(measured.names)}  # fmt: skip


class AttackSweep(L.Callback):
    """Adds to what the module's test step returned, for the certificate sweep that comes after this callback:

    - ``attacks``, (eps, sigma) -> AttackResult. An attack on the base estimator depends on eps alone, and one object
      serves every sigma.
    - ``noise``, eps -> a random perturbation of the same norm for each image, the control, shape (B, 1, H, W).

    Args:
        plan: what to attack.
        remember: for each batch, what keeps its attacks.
    """

    def __init__(self, plan: AttackPlan, remember: RememberOf = none_kept) -> None:
        self.plan, self.remember = plan, remember

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        assert isinstance(pl_module, ReconstructionModule)
        if "recalled" in outputs:
            return
        measured: Measured = outputs["measured"]
        estimator: Checked = outputs["estimator"]
        started, plan = time.perf_counter(), self.plan
        found: dict[tuple[float, Target], AttackResult] = {}
        for eps in plan.eps:
            for target in {plan.target_of(eps, sigma) for sigma in plan.sigma}:
                found[eps, target] = self.attack(estimator, measured, eps, target)
        outputs["attacks"] = {(e, s): found[e, plan.target_of(e, s)] for e in plan.eps for s in plan.sigma}
        outputs["noise"] = {e: on_sphere(measured.x, e, plan.seed, measured.names, CONTROL) for e in plan.eps}
        seconds = time.perf_counter() - started
        log.info("%s (%s): %d attacks in %.1f s", ", ".join(measured.names), measured.setting, len(found), seconds)

    def attack(self, estimator: Checked, measured: Measured, eps: float, target: Target) -> AttackResult:
        """Search, unless this was searched before."""
        plan = self.plan

        def search() -> dict[str, Tensor]:
            found = attack(
                SEARCHES[plan.name](**plan.settings), estimator, measured.setting.operator, measured.x, measured.b,
                eps=eps, target=target, seed=plan.seed, image_keys=measured.names,
            )  # fmt: skip
            return {k: torch.as_tensor(v) for k, v in vars(found).items()}

        found = self.remember(measured)("attack", plan.content(measured, eps, target), search, expected(measured.x))
        tensors = {k: v for k, v in found.items() if k not in ("grad_evals", "network_evals")}
        return AttackResult(**tensors, grad_evals=int(found["grad_evals"]), network_evals=int(found["network_evals"]))


def expected(x: Tensor) -> dict[str, Like]:
    """The tensors of an attack on the images ``x``."""
    images, count = len(x), Like(dtype=torch.int64)
    return {"xi": Like(tuple(x.shape)), "loss": Like((images,)), "losses": Like((images, None), finite=False),
            "zero_gradient": Like((images,), torch.bool), "grad_evals": count, "network_evals": count}  # fmt: skip
