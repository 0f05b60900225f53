"""A network of the user's that cannot be trained or tested is refused before any work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from invsmooth.core.errors import ConfigError
from invsmooth.operators import Identity
from invsmooth.pipeline import own_code
from tests.sweeps.sweeping import run


class Network(nn.Module):
    """A convolution, with a mistake."""

    def __init__(self, mistake: str = "none") -> None:
        super().__init__()
        self.conv, self.mistake, self.calls = nn.Conv2d(1, 1, 3, padding=1), mistake, 0
        if mistake == "frozen":
            self.requires_grad_(False)
        if mistake == "double":
            self.double()

    def forward(self, y: Tensor, operator: object) -> object:
        x_hat = self.conv(y)
        self.calls += 1
        if self.mistake == "grows":
            self.more = nn.Parameter(torch.ones(1))
        if self.mistake == "in place":
            y.mul_(0.5)
        if self.mistake == "exits":
            raise SystemExit(7)
        if self.mistake == "raises":
            raise KeyError("a bug")
        answers: dict[str, object] = {
            "nothing": None, "tuple": (x_hat, y), "smaller": x_hat[..., 1:], "no channel": x_hat[:, 0],
            "one pixel": x_hat.mean((2, 3), keepdim=True), "whole numbers": (255 * x_hat).long(), "complex": x_hat + 0j,
            "counts": x_hat + 0.01 * self.calls, "nan": x_hat * torch.nan, "detached": x_hat.detach(),
        }  # fmt: skip
        return answers.get(self.mistake, x_hat)


def check(mistake: str, trains: bool = True) -> Network:
    network = Network(mistake)
    data = SimpleNamespace(channels=1, images={"train": None}, patches=SimpleNamespace(patch_size=8))
    own_code.try_network(network, Identity(), data, trains)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (
            "raises",
            r"Network fails on .* of an image of shape \(1, 1, 8, 8\).*: KeyError: 'a bug' \(.*test_answers.py, line ",
        ),
        ("grows", "makes weights as it runs .more."),
        ("exits", "fails on .*: SystemExit: 7"),
        ("in place", "changes the measurements that it is given"),
        ("double", "fails on .* should be the same"),
        ("nothing", "answers with a NoneType"),
        ("tuple", "answers with a tuple"),
        ("smaller", r"with shape \(1, 1, 8, 7\)"),
        ("no channel", r"with shape \(1, 8, 8\)"),
        ("one pixel", r"with shape \(1, 1, 1, 1\)"),
        ("whole numbers", "answers in torch.int64"),
        ("complex", "answers in torch.complex64"),
        ("counts", "the estimator is random"),
        ("nan", "is not finite everywhere"),
        ("frozen", "cannot be trained, .*: requires_grad is False for all"),
        ("detached", "cannot be trained, .*: its answer is cut off"),
    ],
)
def test_each_mistake_is_named(mistake: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(mistake)


@pytest.mark.parametrize("mistake", ["frozen", "detached"])
def test_what_needs_no_training_may_have_no_gradients(mistake: str) -> None:
    check(mistake, trains=False)


def test_a_sound_network_is_as_before() -> None:
    network = check("none")
    assert network.training
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_a_refused_run_leaves_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "estimator._target_=tests.outside.test_answers.Network", "+estimator.mistake=tuple", code=2)
    assert "error: estimator: Network: the estimator answers with a tuple" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
