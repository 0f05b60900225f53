"""The memory format and the precision in which a network runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from invsmooth.attacks import PGD, attack
from invsmooth.certificates import certify
from invsmooth.core.memory import SWITCH
from invsmooth.estimators import ISTANetPP, fastest
from invsmooth.estimators.bf16 import InBFloat16
from invsmooth.estimators.premises import checked
from invsmooth.operators import BlockGaussian, Identity
from invsmooth.operators.base import Operator


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No choice is known, and none is left for others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fastest, "known", {})
    monkeypatch.delenv(SWITCH, raising=False)
    return tmp_path


class Viewing(nn.Module):
    """``view`` fails on an activation in channels-last format."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        self.back = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        hidden = self.conv(y)
        return self.back(hidden.view(len(y), -1).relu().view(hidden.shape))


class Watching(nn.Module):
    """Notes the format of its activations and whether they are in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
        self.back = nn.Conv2d(4, 1, 3, padding=1)
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def forward(self, y: Tensor, operator: Operator) -> Tensor:
        hidden = self.conv(y)
        self.seen.add((hidden.is_contiguous(memory_format=torch.channels_last), hidden.dtype))
        return self.back(hidden.relu()) + y


def test_within_the_block_the_format_changes_and_afterwards_nothing_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "is_faster", lambda *_: (True, False))
    net, y = Watching().eval(), torch.rand(2, 1, 8, 8)
    before = [(p.data_ptr(), p.stride()) for p in net.parameters()]
    with torch.no_grad(), fastest.fastest(net, Identity(), y):
        net.seen.clear()
        net(y, Identity())
        assert net.seen == {(True, torch.float32)}
    assert [(p.data_ptr(), p.stride()) for p in net.parameters()] == before


def test_an_error_within_the_block_leaves_the_weights_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastest, "is_faster", lambda *_: (True, False))
    net = Watching()
    before = [(p.data_ptr(), p.stride()) for p in net.parameters()]
    with pytest.raises(KeyboardInterrupt), fastest.fastest(net, Identity(), torch.rand(1, 1, 8, 8)):
        raise KeyboardInterrupt
    assert [(p.data_ptr(), p.stride()) for p in net.parameters()] == before


def test_a_network_that_cannot_stays_in_its_format() -> None:
    net, y = Viewing().eval(), torch.rand(1, 1, 8, 8)
    assert fastest.is_faster(net, Identity(), y, fastest.kernels(net)) == (False, True)
    found = certify(net, Identity(), y, sigma=0.1, eps=0.05, n_samples=50)
    assert bool(found.bound.isfinite().all())


def test_certificates_agree_with_those_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, operator = ISTANetPP(2, 8).eval(), BlockGaussian(0.3)
    y = operator.A(torch.rand(1, 1, 33, 33))
    found = certify(net, operator, y, sigma=0.1, eps=[0.02, 0.05], n_samples=64)
    assert fastest.known
    monkeypatch.setenv(SWITCH, "0")
    plain = certify(net, operator, y, sigma=0.1, eps=[0.02, 0.05], n_samples=64)
    torch.testing.assert_close(found.bound, plain.bound, rtol=1e-4, atol=0)


def test_a_choice_is_made_once_and_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def choose() -> tuple[bool, bool]:
        asked.append(1)
        return False, True

    assert fastest.once("a", choose) is False
    assert fastest.once("a", choose) is False
    monkeypatch.setattr(fastest, "known", {})  # another process
    assert fastest.once("a", choose) is False
    assert len(asked) == 1
    assert json.loads((home / "invsmooth" / "fastest.json").read_text()) == {"a": False}


@pytest.mark.parametrize("content", ["", "[]", '{"a": ', '{"a": "no"}'])
def test_a_damaged_file_of_choices_is_replaced(home: Path, content: str) -> None:
    fastest.choices_file().parent.mkdir()
    fastest.choices_file().write_text(content)
    assert fastest.once("a", lambda: (True, True)) is True
    assert json.loads(fastest.choices_file().read_text()) == {"a": True}


def test_without_a_folder_for_the_choices_they_hold_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert fastest.once("a", lambda: (True, True)) is True
    assert fastest.once("a", lambda: (False, True)) is True


def test_the_key_is_of_shapes_not_of_weights() -> None:
    y = torch.rand(1, 1, 8, 8)
    one, same, other = ISTANetPP(2, 8), ISTANetPP(2, 8), ISTANetPP(2, 4)
    assert fastest.key_of("a", one, y) == fastest.key_of("a", same, torch.rand(5, 1, 8, 8))
    keys = {
        fastest.key_of("a", n, z) for n, z in ((one, y), (other, y), (one, torch.rand(1, 1, 8, 9)), (one, y.double()))
    }
    assert len(keys) == 4


def test_an_attack_in_bfloat16_gives_its_loss_in_float32() -> None:
    torch.manual_seed(0)
    net, x = Watching(), torch.rand(2, 1, 16, 16)
    found = attack(PGD(n_iter=5), net, Identity(), x, eps=0.5, precision="bf16")
    assert torch.bfloat16 in {dtype for _, dtype in net.seen}
    with torch.no_grad():
        exact = (net(x + found.xi, Identity()) - x).square().flatten(1).mean(1)
    torch.testing.assert_close(found.loss, exact, rtol=1e-5, atol=0)
    plain = attack(PGD(n_iter=5), net, Identity(), x, eps=0.5, precision="fp32")
    torch.testing.assert_close(found.loss, plain.loss, rtol=0.02, atol=0)
    torch.testing.assert_close(found.losses, found.loss[:, None])


def test_a_search_without_gradients_is_in_float32() -> None:
    from invsmooth.attacks import Noise

    net, x = Watching(), torch.rand(1, 1, 16, 16)
    attack(Noise(n_iter=3), net, Identity(), x, eps=0.5, precision="bf16")
    assert {dtype for _, dtype in net.seen} == {torch.float32}


def fake_gradients(monkeypatch: pytest.MonkeyPatch, seconds: dict[bool, float], turn: float) -> tuple[object, Tensor]:
    """A gradient that takes this long, and whose bfloat16 version is turned away by ``turn``."""
    clock = [0.0]
    monkeypatch.setattr(fastest.time, "perf_counter", lambda: clock[0])

    def gradient(coarse: bool) -> Tensor:
        clock[0] += seconds[coarse]
        return torch.tensor([[1.0, turn if coarse else 0.0]])

    return gradient, torch.rand(1, 1, 8, 8)


@pytest.mark.parametrize(
    ("fine", "coarse", "turn", "pays"),
    [(1.0, 0.5, 0.05, True), (1.0, 0.95, 0.05, False), (1.0, 0.5, 0.5, False), (0.002, 0.001, 0.05, False)],
)
def test_bf16_pays_where_it_is_faster_and_points_the_same_way(
    monkeypatch: pytest.MonkeyPatch, fine: float, coarse: float, turn: float, pays: bool
) -> None:
    gradient, y = fake_gradients(monkeypatch, {False: fine, True: coarse}, turn)
    assert fastest.bf16_pays(Watching(), gradient, y) is pays  # type: ignore[arg-type]


def test_bf16_does_not_pay_where_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(fastest.time, "perf_counter", lambda: clock[0])

    def gradient(coarse: bool) -> Tensor:
        clock[0] += 1.0
        if coarse:
            raise RuntimeError("not implemented for BFloat16")
        return torch.ones(1, 2)

    assert fastest.bf16_pays(Watching(), gradient, torch.rand(1, 1, 8, 8)) is False


def test_the_checked_estimator_returns_to_float32() -> None:
    net, y = Watching().eval(), torch.rand(1, 1, 8, 8)
    known = checked(net, Identity(), y)
    with torch.no_grad():
        plain = known(y, Identity())
        with known.in_bf16():
            coarse = known(y, Identity())
        assert coarse.dtype == plain.dtype
        assert not torch.equal(coarse, plain)
        assert torch.equal(known(y, Identity()), plain)
    assert known.rounding == 0


def test_for_a_quick_pass_nothing_is_written(home: Path) -> None:
    with fastest.fastest(Watching(), Identity(), torch.rand(1, 1, 8, 8)):
        pass
    assert len(fastest.known) == 1
    assert not list(home.iterdir())


@pytest.mark.parametrize(
    "wrap",
    [InBFloat16, lambda net: checked(InBFloat16(net), Identity(), torch.rand(1, 1, 8, 8))],
    ids=["bare", "checked"],
)
def test_a_network_that_always_runs_in_bfloat16_is_compared_as_such(wrap: Any) -> None:
    torch.manual_seed(0)
    net, operator, y = Watching().eval(), Identity(), torch.rand(1, 1, 64, 64)
    assert fastest.coarse(wrap(net))
    assert not fastest.coarse(net)
    with torch.no_grad(), fastest.channels_last(fastest.kernels(net)):
        other = InBFloat16(net)(y, operator)
    with torch.no_grad():
        plain = InBFloat16(net)(y, operator)
    assert float((other - plain).norm()) <= 3e-2 * float(plain.norm())
