from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from invsmooth.core.errors import CheckpointError
from invsmooth.data import image_files, read_image
from invsmooth.estimators import DPDNN, load_checkpoint
from invsmooth.metrics import psnr
from invsmooth.operators import BlockGaussian, Identity


def published_dpdnn_state(channels: int, n_steps: int) -> dict[str, torch.Tensor]:
    """Random weights under the names and shapes of the published PyTorch code, its unused convolutions included."""
    generator, state = torch.Generator().manual_seed(0), {}

    def add(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) * 0.1
        state[f"{name}.bias"] = torch.randn(channels if shape[0] != 1 else 1, generator=generator) * 0.1

    c = channels
    for level in (1, 2, 3, 4):
        for i, c_in in zip((0, 2, 4), (1 if level == 1 else c, c, c), strict=True):
            add(f"Feature_Encoder{level}_fe.{i}", c, c_in, 3, 3)
        add(f"Feature_Encoder{level}_down.0", c, c, 3, 3)
        add(f"decoder_up{level}", c, c, 3, 3)
        add(f"Feature_Decoder{level}.0", c, 2 * c, 1, 1)
        for i in (2, 4, 6, 8):
            add(f"Feature_Decoder{level}.{i}", c, c, 3, 3)
    add("encoder_end.0", c, c, 3, 3)
    add("Feature_Decoder_end", 1, c, 3, 3)
    for t in range(1, n_steps + 1):
        state[f"delta_{t}"], state[f"eta_{t}"] = torch.tensor(0.1 * t), torch.tensor(0.9 - 0.1 * t)
    return state


def published_dpdnn_forward(s: dict[str, torch.Tensor], y: torch.Tensor, n_steps: int) -> torch.Tensor:
    """The published forward pass for A = I, written out with functions."""
    f = nn.functional

    def conv(h: torch.Tensor, name: str, relu: bool = True, **options: int) -> torch.Tensor:
        h = f.conv2d(h, s[f"{name}.weight"], s[f"{name}.bias"], **({"padding": 1} | options))
        return h.relu() if relu else h

    x = y
    for t in range(1, n_steps + 1):
        h, skips = x, []
        for level, down in zip((1, 2, 3, 4), (1, 2, 1, 2), strict=True):
            for i in (0, 2, 4):
                h = conv(h, f"Feature_Encoder{level}_fe.{i}")
            skips.append(h)
            h = conv(h, f"Feature_Encoder{down}_down.0", stride=2)
        h = conv(h, "encoder_end.0")
        for level in (4, 3, 2, 1):
            up = f"decoder_up{level}"
            h = f.conv_transpose2d(h, s[f"{up}.weight"], s[f"{up}.bias"], stride=2, padding=1, output_padding=1)
            h = conv(torch.cat([h, skips[level - 1]], 1), f"Feature_Decoder{level}.0", padding=0)
            for i in (2, 4, 6):
                h = conv(h, f"Feature_Decoder{level}.{i}")
            h = conv(h, f"Feature_Decoder{level}.8", relu=False)
        v = x + conv(h, "Feature_Decoder_end", relu=False)
        delta, eta = s[f"delta_{t}"], s[f"eta_{t}"]
        x = (1 - delta - eta) * v + eta * x + delta * y
    return x


def test_published_dpdnn_weights_give_the_published_forward_pass(tmp_path: Path) -> None:
    state = published_dpdnn_state(channels=6, n_steps=3)
    torch.save(state, tmp_path / "dpdnn.pt")
    estimator = load_checkpoint(tmp_path / "dpdnn.pt")
    assert isinstance(estimator, DPDNN)
    assert not estimator.training
    y = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(estimator(y, Identity()), published_dpdnn_forward(state, y, 3), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "expected"), [("istanetpp_official_401.pkl", 28.362), ("istanetpp_paper_ord_100.pkl", 27.826)]
)
def test_published_istanetpp_on_set11(shared_data: Path, file: str, expected: float) -> None:
    """Mean PSNR over Set11 at ratio 0.1 (the authors print 28.34, the paper 27.79). Other matrices with orthonormal rows
    give the same but for some hundredths of a dB: seen on the three images that come first and are not large."""
    estimator = load_checkpoint(shared_data / "weights" / file).to(memory_format=torch.channels_last)  # faster
    published = BlockGaussian(0.1, matrix=shared_data / "matrices" / "phi_0_10_1089.mat")
    images = [read_image(found.path)[None] for found in image_files(shared_data / "set11").values()]

    def values(operator: BlockGaussian, images: list[torch.Tensor]) -> list[float]:
        with torch.no_grad():
            return [float(psnr(estimator(operator.A(x), operator), x)) for x in images]

    found = values(published, images)
    assert len(found) == 11
    assert sum(found) / 11 == pytest.approx(expected, abs=0.005)
    if file == "istanetpp_paper_ord_100.pkl":
        few = [k for k, x in enumerate(images) if x.numel() == 256**2][:3]
        others = values(BlockGaussian(0.1), [images[k] for k in few])
        assert sum(others) / 3 == pytest.approx(sum(found[k] for k in few) / 3, abs=0.1)


def test_istanetpp_with_our_own_matrix(shared_data: Path) -> None:
    """Any Phi with orthonormal rows will do: at ratio 0.5 the house image alone."""
    estimator = load_checkpoint(shared_data / "weights" / "istanetpp_official_401.pkl")
    x = read_image(shared_data / "set11" / "house.tif")[None, :, :99, :99]
    with torch.no_grad():
        low, high = (
            float(psnr(estimator(operator.A(x), operator), x)) for operator in (BlockGaussian(0.1), BlockGaussian(0.5))
        )
    assert low > 27
    assert high > low + 5


def test_errors_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint file"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(tmp_path / "list.pt")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"begins with: conv\.weight"):
        load_checkpoint(tmp_path / "other.pt")
    state = published_dpdnn_state(4, 2)
    del state["encoder_end.0.bias"]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(tmp_path / "short.pt")


def test_a_checkpoint_cannot_name_anything_but_a_module(tmp_path: Path) -> None:
    content = {"state_dict": {}, "hyper_parameters": {"estimator": {"_target_": "os.getcwd"}}}
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError, match=r"os\.getcwd"):
        load_checkpoint(tmp_path / "evil.ckpt")


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
@pytest.mark.parametrize(("switch", "kept"), [("", True), ("0", False)])
def test_a_network_that_was_loaded_runs_with_memory_that_is_kept(switch: str, kept: bool, tmp_path: Path) -> None:
    """In a process that calls nothing else of ours: whether 200 MB stay in it after they were freed."""
    torch.save(published_dpdnn_state(channels=2, n_steps=1), tmp_path / "dpdnn.pt")
    code = (
        "import resource, torch\nfrom invsmooth import load_checkpoint\nload_checkpoint('dpdnn.pt')\n"
        "pages = lambda: int(open('/proc/self/statm').read().split()[1])\nbefore = pages()\n"
        "torch.ones(50_000_000)\nprint((pages() - before) * resource.getpagesize() > 100e6)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"INVSMOOTH_FAST": switch},
                          check=True, capture_output=True, text=True)  # fmt: skip
    assert done.stdout == f"{kept}\n"
