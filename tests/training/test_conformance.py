"""Our algorithms, and one that is nobody's."""

from __future__ import annotations

import inspect
from typing import ClassVar

from torch import Tensor

from invsmooth.config import parts
from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.metrics import mse
from invsmooth.operators import LinearOperator
from invsmooth.training import CertifiedTraining, FitTraining, ReconstructionModule
from tests.training.conformance import AlgorithmConformance
from tests.training.toys import SETTINGS, Gain

SMALL = {"eps": 0.2, "n_iter": 2, "step_size": None, "sigma": 10 / 255, "n_samples": 3, "t_step": 2}
"""Of the algorithms that have no entry in ``SETTINGS``."""

NETWORKS = {CertifiedTraining: {"network": staticmethod(Gain)}}
"""Of the algorithms that train only networks of some kind."""

for target in dict.fromkeys(parts.packaged("algo").values()):
    kind = parts.load_class(target, "algo")
    if kind is FitTraining:  # it changes nothing: test_closed_form.py
        continue
    own = SETTINGS.get(kind.__name__.removesuffix("Training"))
    if own is None:
        own = {k: v for k, v in SMALL.items() if k in inspect.signature(kind).parameters}
    name = f"Test_{kind.__name__}"
    globals()[name] = type(
        name, (AlgorithmConformance,), {"algorithm": kind, "parameters": own} | NETWORKS.get(kind, {})
    )


class Blurred(ReconstructionModule):
    """An algorithm of somebody else's: it adds noise to the measurements."""

    declared: ClassVar = AlgorithmDeclaration("blurred", smooths=True)
    grey_levels = ("sigma",)

    def __init__(self, setup: object, *, sigma: float) -> None:
        super().__init__(setup)  # type: ignore[arg-type]
        self.sigma = sigma

    def accumulate_gradients(self, x: Tensor, b: Tensor, operator: LinearOperator, update: int) -> Tensor:
        noise = self.sigma * self.draw(b.shape, "blurred", update).to(b)
        loss = mse(self.estimator(operator.A(x) + b + noise, operator), x).mean()
        self.manual_backward(loss)
        return loss.detach()


class TestBlurred(AlgorithmConformance):
    algorithm, parameters = Blurred, {"sigma": 0.1}


def test_ours_are_all_there_and_sorted() -> None:
    found = {
        parts.load_class(t, "algo").declared.name: parts.load_class(t, "algo").declared
        for t in parts.packaged("algo").values()
    }
    assert sorted(found, key=lambda name: found[name].order) == [
        "ord", "jcb", "adv", "smt_adv", "smt_grad", "certified", "fit",
    ]  # fmt: skip
    assert [name for name in found if found[name].smooths] == ["smt_adv", "smt_grad"]
