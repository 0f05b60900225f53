"""Weights from elsewhere: every usual form of file fills the network that the config names, or one message says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from invsmooth.config import schema
from invsmooth.core.errors import CheckpointError, ConfigError
from invsmooth.estimators import ISTANetPP, load_checkpoint
from invsmooth.operators import Identity
from invsmooth.operators.measurement import Setting
from invsmooth.pipeline.build import build_estimator
from invsmooth.pipeline.evaluated import keep_network
from invsmooth.records.origin import read_origin

HERE = "tests.estimators.test_weights"
Y = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
State = dict[str, Tensor]


class Net(nn.Module):
    """Takes measurements alone. ``scale`` is a buffer."""

    scale: Tensor

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, y: Tensor) -> Tensor:
        return y + self.scale * self.tail(torch.relu(self.head(y)))


class Told(Net):
    def forward(self, y: Tensor, sigma: float) -> Tensor:  # type: ignore[override]
        return (1 - sigma) * super().forward(y)


class Parallel(Net):
    """Its own names begin like those of a wrapper."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Module()
        self.module.head, self.module.tail = self.head, self.tail
        del self.head, self.tail

    def forward(self, y: Tensor) -> Tensor:
        return self.module.tail(self.module.head(y))


def state(kind: type[nn.Module] = Net) -> State:
    torch.manual_seed(0)
    return {k: v + 0.5 for k, v in kind().state_dict().items()}


def config(*overrides: str, kind: str = "Net") -> DictConfig:
    schema.register()
    given = overrides if any(o.startswith("estimator=") for o in overrides) else (
        "estimator=custom", f"estimator._target_={HERE}.{kind}", *overrides
    )  # fmt: skip
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        return compose("evaluate", ["task=denoise", *given])


def before(prefix: str, weights: State) -> State:
    return {prefix + k: v for k, v in weights.items()}


FILES: dict[str, tuple[Callable[[State, Path], object], str]] = {
    "a state dict": (torch.save, ""),
    "DataParallel": (lambda s, p: torch.save(before("module.", s), p), ""),
    "two wrappers": (lambda s, p: torch.save(before("module.model.", s), p), ""),
    "torch.compile": (lambda s, p: torch.save(before("_orig_mod.", s), p), ""),
    "under state_dict": (lambda s, p: torch.save({"epoch": 3, "state_dict": before("net.", s)}, p), ""),
    "under params": (lambda s, p: torch.save({"params": s}, p), ""),
    "the average of BasicSR": (
        lambda s, p: torch.save({"params": {k: 0 * v for k, v in s.items()}, "params_ema": s}, p), ""
    ),
    "Lightning": (
        lambda s, p: torch.save(
            {"pytorch-lightning_version": "2.0", "state_dict": before("model.", s), "hyper_parameters": {"lr": 1}}, p
        ), "",
    ),
    "Lightning with a loss": (
        lambda s, p: torch.save({"state_dict": before("unet.", s) | {"loss.weight": torch.ones(3)}}, p), "unet."
    ),
    "a safetensors file": (lambda s, p: save_file(s, p), ""),
}  # fmt: skip


@pytest.mark.parametrize("form", FILES)
def test_every_usual_file_fills_the_network(tmp_path: Path, form: str) -> None:
    save, prefix = FILES[form]
    path = tmp_path / ("w.safetensors" if "safetensors" in form else "w.pt")
    save(state(), path)
    net = Net()
    net.load_state_dict(state())
    given = [f"ckpt={path}", *([f"ckpt_prefix={prefix}"] if prefix else [])]
    for trains in (False, True):
        estimator = build_estimator(config(*given), trains=trains)
        assert torch.equal(estimator(Y, Identity()), net(Y))


def test_names_that_begin_like_a_wrapper_stay(tmp_path: Path) -> None:
    for name, saved in {"own": state(Parallel), "wrapped": before("module.", state(Parallel))}.items():
        torch.save(saved, tmp_path / name)
        estimator = build_estimator(config(f"ckpt={tmp_path / name}", kind="Parallel"), trains=False)
        assert {k.removeprefix("method.") for k in estimator.state_dict()} == state(Parallel).keys()


def refusal(path: Path, content: Any, *overrides: str) -> str:
    torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        build_estimator(config(f"ckpt={path}", *overrides), trains=False)
    return str(caught.value)


def test_misfits_are_listed(tmp_path: Path) -> None:
    path, weights = tmp_path / "w.pt", state()
    said = refusal(path, {k: v for k, v in weights.items() if k != "scale"} | {"more": torch.ones(1)})
    assert "do not fit Net: 1 missing: scale; 1 too many: more. If they are of another network" in said
    said = refusal(path, {"state_dict": before("unet.", weights) | {"loss.w": torch.ones(1)}})
    assert "4 missing" not in said
    assert "5 missing: head.bias" in said
    assert said.endswith("Those with the prefix 'unet.' fit: give ckpt_prefix=unet.")
    assert "5 missing" in refusal(path, before("unet.", weights), "ckpt_prefix=net.")
    assert "head.weight has shape (2, 1, 3, 3)" in refusal(path, weights | {"head.weight": torch.ones(2, 1, 3, 3)})
    assert "not finite: head.bias" in refusal(path, weights | {"head.bias": torch.full((3,), torch.nan)})
    assert "has no weights" in refusal(path, {"epoch": 3, "state_dict": {}})
    assert "has a int among its weights: epoch" in refusal(path, weights | {"epoch": 3})
    assert "key 3 is no text" in refusal(path, weights | {3: torch.ones(1)})
    many = refusal(path, before("x.", {str(i): torch.ones(1) for i in range(30)}))
    assert "30 too many: x.0, x.1" in many
    assert "and 20 more" in many


def test_no_code_in_a_file_runs(tmp_path: Path) -> None:
    assert "save its weights alone" in refusal(tmp_path / "w.pt", Net())
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\xff" * 40)
    with pytest.raises(CheckpointError, match="cannot be read as a safetensors file"):
        build_estimator(config(f"ckpt={path}"), trains=False)


def test_weights_of_our_own_classes_load_without_their_checkpoint(tmp_path: Path) -> None:
    net = ISTANetPP(1, 2)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "w.pt")
    given = [f"ckpt={tmp_path / 'w.pt'}", "estimator=istanetpp", "estimator.n_phases=1", "estimator.channels=2"]
    found = build_estimator(config(*given), trains=False).state_dict()
    assert all(torch.equal(found[k], v) for k, v in net.state_dict().items())


def test_a_denoiser_is_told_the_noise_level(tmp_path: Path) -> None:
    torch.save(state(Told), tmp_path / "w.pt")
    given = ["estimator=denoiser", f"estimator.method._target_={HERE}.Told", "estimator.sigma=0.25"]
    estimator = build_estimator(config(*given, f"ckpt={tmp_path / 'w.pt'}"), trains=False)
    net = Net()
    net.load_state_dict(state())
    torch.testing.assert_close(estimator(Y, Identity()), 0.75 * net(Y))
    with pytest.raises(ConfigError, match=r"takes a noise level \(sigma\): give estimator=denoiser"):
        build_estimator(config(kind="Told"), trains=True)


def test_the_run_keeps_network_and_weights_together(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    cfg = config(f"ckpt={tmp_path / 'w.pt'}", "+estimator.width=3")
    estimator = build_estimator(cfg, trains=False)
    path = keep_network(cfg, estimator, [Setting(Identity(), 1.0, 0.1)], tmp_path / "run")
    again = load_checkpoint(path, trust=["tests"])
    assert torch.equal(again(Y, Identity()), estimator(Y, Identity()))
    origin = read_origin(str(path))
    assert origin is not None
    assert origin.estimator == {"_target_": f"{HERE}.Net", "width": 3}
    assert origin.sha256 == {1.0: Identity().sha256()}
