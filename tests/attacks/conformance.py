"""What every attack keeps to. One of anybody's joins by one line: ``class TestMine(AttackConformance): part = Mine()``."""

from __future__ import annotations

import inspect
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from invsmooth.attacks import Objective, ReconstructionError, Search, Target, attack
from invsmooth.core.memory import SWITCH
from invsmooth.estimators import ISTANetPP
from invsmooth.metrics import mse
from invsmooth.operators import BlockGaussian

EPS = 0.4
TARGETS = [Target(), Target("mean", 0.1, 3, "fixed", chunk_size=2), Target("median", 0.1, 4, n_around=2)]


Problem = tuple[ISTANetPP, BlockGaussian, Tensor]
"""Network, operator and x."""


class Recording:
    """An objective that records every loss it returns, shape (B,) each."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.losses: list[Tensor] = []

    def value(self, xi: Tensor) -> Tensor:
        self.losses.append(self.objective.value(xi).detach())
        return self.losses[-1]

    def value_and_gradient(self, xi: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = self.objective.value_and_gradient(xi)
        self.losses.append(loss)
        return loss, gradient


class AttackConformance:
    part: ClassVar[Search]
    """The attack, with some parameters."""
    keeps_best: ClassVar[bool] = True
    """Whether it returns the best point that it tried."""

    @pytest.fixture(autouse=True)
    def _nothing_is_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a busy machine two attacks on the same network may choose another precision."""
        monkeypatch.setenv(SWITCH, "0")

    @pytest.fixture
    def problem(self) -> Problem:
        torch.manual_seed(0)
        net, operator = ISTANetPP(1, 4).train(), BlockGaussian(0.5, block=8)
        return net, operator, torch.rand(2, 1, 16, 16)

    @pytest.mark.parametrize("eps", [0.0, 0.01, EPS, 5.0])
    def test_stays_in_the_ball_of_each_image(self, problem: Problem, eps: float) -> None:
        net, operator, x = problem
        found = attack(self.part, net, operator, x * torch.tensor([0.1, 10]).view(2, 1, 1, 1), eps=eps)
        assert found.xi.shape == x.shape
        assert (found.xi.flatten(1).norm(dim=1) <= eps * (1 + 1e-6)).all()

    def test_the_loss_is_that_of_xi_and_the_best_tried(self, problem: Problem) -> None:
        """The best of the points tried so far can only grow."""
        net, operator, x = problem
        recording = Recording(ReconstructionError(net.eval(), operator, x, None))
        found = self.part.search(recording, x, eps=EPS, seed=1, image_keys=["a", "b"])
        torch.testing.assert_close(
            found.loss, mse(net(operator.A(x + found.xi), operator), x).detach(), rtol=1e-4, atol=0
        )
        if self.keeps_best:
            assert torch.equal(found.loss, torch.stack(recording.losses).amax(0))
            assert torch.equal(found.loss, found.losses.amax(1))

    @pytest.mark.parametrize("eps", [0.0, EPS])
    @pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.kind)
    def test_cost_is_what_is_counted(self, problem: Problem, target: Target, eps: float) -> None:
        net, operator, x = problem
        found = attack(self.part, net, operator, x, eps=eps, target=target)
        assert (found.network_evals, found.grad_evals) == self.part.cost(eps, target.passes(x), target.n_samples)

    @pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.kind)
    def test_images_are_attacked_alone_and_the_seed_decides(self, problem: Problem, target: Target) -> None:
        net, operator, x = problem
        first, again = (
            attack(self.part, net, operator, x, eps=EPS, target=target, seed=7, image_keys=["a", "b"]) for _ in range(2)
        )
        assert torch.equal(first.xi, again.xi)
        alone = attack(self.part, net, operator, x[1:], eps=EPS, target=target, seed=7, image_keys=["b"])
        torch.testing.assert_close(first.xi[1:], alone.xi, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(first.losses[1:], alone.losses, rtol=1e-3, atol=0)

    def test_leaves_no_trace_on_the_estimator(self, problem: Problem) -> None:
        net, operator, x = problem
        with torch.inference_mode():
            attack(self.part, net, operator, x, eps=EPS)
        assert net.training
        assert all(p.requires_grad and p.grad is None for p in net.parameters())

    def test_has_a_name_and_its_parameters_as_attributes(self) -> None:
        assert isinstance(self.part.name, str)
        assert all(hasattr(self.part, name) for name in inspect.signature(type(self.part)).parameters)
