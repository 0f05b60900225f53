"""Every training algorithm trains every estimator that has a Lipschitz constant, and the constant still holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from invsmooth.estimators import CRR, LMMSE, Equilibrium, LipNet, NullSpace
from invsmooth.lipschitz.constants import in_float64, lipschitz_constant
from invsmooth.operators import BlockGaussian, Identity, LinearOperator
from invsmooth.operators.measurement import Setting
from invsmooth.training import backbone
from tests.training.toys import RATIOS, SETTINGS, data, module, trainer

N_BATCHES = 4  # in which both ratios are drawn
ALGORITHMS = SETTINGS | {"Certified": {"eps": 0.2}}


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    operators: Callable[[], Sequence[LinearOperator]]
    idle: tuple[str, ...] = ()  # parameters that the output does not depend on, by their names


def blocks() -> list[LinearOperator]:
    return [BlockGaussian(ratio, block=4) for ratio in RATIOS]


def identity() -> list[LinearOperator]:
    return [Identity()]


ESTIMATORS = {
    "lipnet": Case(lambda: LipNet(2, 4, 3), identity, idle=("shares",)),  # at L = 1 there is nothing to share out
    "lipnet, L given": Case(lambda: LipNet(2, 4, 3, constant=2.0), identity),
    "lipnet, L learned": Case(lambda: LipNet(2, 4, 3, constant=None), identity),
    "lipnet, groups": Case(lambda: LipNet(2, 4, 3, constant=1.5, group=2), identity),
    "null_space": Case(lambda: NullSpace(RATIOS, block=4, n_phases=2, filters=4, kernel=3), blocks),
    "lmmse": Case(lambda: LMMSE(RATIOS, 4, limit=2.0), blocks),
    "crr": Case(lambda: CRR(2, 3, tolerance=1e-3), identity),
    "equilibrium": Case(lambda: Equilibrium(1.0, n_filters=2, kernel_size=3, tolerance=1e-2), blocks),
}
"""One line for each estimator with a constant."""


class Watched(L.Callback):
    """Notes the weights before the first update, and which parameters had a gradient that is not zero."""

    def __init__(self) -> None:
        self.start: dict[str, Tensor] = {}
        self.reached: set[str] = set()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:  # after a closed-form fit
        self.start = {k: p.detach().clone() for k, p in pl_module.estimator.named_parameters()}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: object) -> None:
        grads = {k: p.grad for k, p in pl_module.estimator.named_parameters() if p.grad is not None}
        assert all(bool(g.isfinite().all()) for g in grads.values())
        self.reached |= {k for k, g in grads.items() if bool(g.any())}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trains_all_weights_and_keeps_the_constant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, name: str
) -> None:
    monkeypatch.setattr(backbone, "FITTED", 100_000)  # fewer patches for the closed-form fit
    case = ESTIMATORS[name]
    operators = case.operators()
    setup = {"train_operators": operators, "val_settings": [Setting(operators[0], operators[0].ratio, 0.0)]}
    trained = module(algorithm, case.make(), setup, **ALGORITHMS[algorithm])
    runner, watched = trainer(tmp_path, N_BATCHES), Watched()
    runner.callbacks.append(watched)  # type: ignore[attr-defined]
    runner.fit(trained, datamodule=data())
    assert trained.batches_seen == N_BATCHES
    assert bool(runner.callback_metrics["train/loss"].isfinite())
    weights = dict(trained.estimator.named_parameters())
    learned = {k for k in weights if k.rpartition(".")[2] not in case.idle}
    assert watched.reached >= learned
    assert {k for k, p in weights.items() if not torch.equal(p, watched.start[k])} >= learned
    for operator in operators:
        constant = lipschitz_constant(trained.estimator, operator, "measurement")
        assert most_stretched(trained.estimator, operator) <= constant * (1 + 1e-6)  # solvers stop at a tolerance


def most_stretched(estimator: nn.Module, operator: LinearOperator) -> float:
    """The largest ||f(y') - f(y)|| / ||y' - y|| of a few pairs, near and far, in float64."""
    f, exact, generator = in_float64(estimator), in_float64(operator), torch.Generator().manual_seed(0)
    y = exact.A(torch.rand(6, 1, 8, 8, generator=generator, dtype=torch.float64))  # type: ignore[operator]
    step = torch.randn(y.shape, generator=generator, dtype=torch.float64) * torch.tensor([1e-3, 0.1, 1.0] * 2).view(
        6, 1, 1, 1
    )
    moved = (f(y + step, exact) - f(y, exact)).flatten(1).norm(dim=1)
    return float((moved / step.flatten(1).norm(dim=1)).max())
