"""What a network answers to a fixed input."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from invsmooth.estimators import ISTANetPP
from invsmooth.estimators.probe import SIDE, probes
from invsmooth.operators import BlockGaussian, Identity

SIZE = (80, 100)


class Net(nn.Module):
    """x_hat = gain · A^T y; ``sizes``: of what it was asked."""

    def __init__(self, takes: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.gain, self.takes, self.sizes = nn.Parameter(torch.tensor(0.5)), takes, []

    def forward(self, y: Tensor, operator: Identity) -> Tensor:
        self.sizes.append(tuple(y.shape[-2:]))
        if self.takes not in (None, tuple(y.shape[-2:])):
            raise RuntimeError("shapes cannot be multiplied")
        return self.gain * operator.A_adjoint(y) * (2 if self.training else 1)


def answer(net: nn.Module, size: tuple[int, int] = SIZE) -> str:
    (found,) = probes(net, [operator := Identity()], [size]).values()
    assert list(probes(net, [operator], [size])) == [(operator, size)]
    return found


def hook(net: nn.Module) -> None:
    net.register_forward_hook(lambda module, arguments, x_hat: 0.5 * x_hat)


def hidden_number(net: nn.Module) -> None:
    net.forward = lambda y, operator: y + 1e-6  # type: ignore[method-assign]


def weight(net: nn.Module) -> None:
    with torch.no_grad():
        net.gain += 1e-6  # type: ignore[operator]


@pytest.mark.parametrize("change", [hook, hidden_number, weight])
def test_another_answer_is_another_hash(change: Callable[[nn.Module], object]) -> None:
    net = Net()
    before = answer(net)
    change(net)
    assert answer(net) != before


def test_the_same_network_has_the_same_hash_whatever_its_mode_and_the_number_of_threads() -> None:
    torch.manual_seed(0)
    net, operators = ISTANetPP(1, 4), [BlockGaussian(0.1), BlockGaussian(0.3)]
    before = probes(net, operators, [SIZE, (33, 33)])
    assert len(set(before.values())) == 4
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert probes(net.eval(), operators, [SIZE, (33, 33)]) == before
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)
    assert Net()(torch.ones(1, 1, 2, 2), Identity()).max() == 1.0
    assert answer(Net().train()) == answer(Net().eval())


def test_it_leaves_no_trace() -> None:
    class Draws(Net):
        def forward(self, y: Tensor, operator: Identity) -> Tensor:
            torch.rand(1)
            np.random.rand()  # noqa: NPY002
            random.random()
            return super().forward(y, operator)

    def state() -> list:
        return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # noqa: NPY002

    net = Draws().train()
    before = state()
    answer(net)
    assert state() == before
    assert net.training
    assert net.gain.requires_grad
    assert net.gain.grad is None


def test_large_images_are_cropped_unless_the_network_takes_none() -> None:
    for takes, asked in ((None, [(SIDE, SIDE)]), (SIZE, [(SIDE, SIDE), SIZE])):
        net = Net(takes)
        probes(net, [Identity()], [SIZE])
        assert net.sizes == asked
        assert answer(Net(takes)) == answer(Net(takes))
    several = Net()
    assert len(set(probes(several, [Identity()], [SIZE, (100, 80), (70, 64)]).values())) == 1
    assert len(several.sizes) == 1


def test_no_answer_is_nobody_elses(caplog: pytest.LogCaptureFixture) -> None:
    net = Net(takes=(1, 1))
    assert answer(net) != answer(net)
    assert "no answer to a fixed 80×100 input" in caplog.text
