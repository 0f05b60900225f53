"""Results of a network of the user's own, whose code changes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from invsmooth.cache import code
from invsmooth.config import schema
from invsmooth.pipeline import run as pipeline
from tests.sweeps.test_damage import GRID
from tests.sweeps.test_plan import TINY, rows

NET = """
import torch
import oc_helpers

class Net(torch.nn.Module):
    def forward(self, y, operator):
        return oc_helpers.gain() * operator.A_adjoint(y)
"""


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], float]]:
    """PSNR of the network with these helpers, as an evaluation in a new process would find it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "oc_net.py").write_text(NET)

    def forget() -> None:
        for name in ("oc_net", "oc_helpers"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        code.source_key.cache_clear()

    def evaluate(helpers: str) -> float:
        (tmp_path / "oc_helpers.py").write_text(helpers)
        forget()
        folder = tmp_path / str(len(list(tmp_path.glob("[0-9]*"))))
        folder.mkdir()
        schema.register()
        own = [f"cache={tmp_path / 'cache'}", "estimator=custom", "estimator._target_=oc_net.Net"]
        tiny = [o for o in TINY if not o.startswith("estimator.")]
        with initialize_config_module("invsmooth.conf", version_base="1.3"):
            cfg = compose("evaluate", [*tiny, *GRID, *own])
        pipeline.evaluate_checkpoint(cfg, folder)
        return float(rows(folder)["psnr_clean"][0])

    yield evaluate
    forget()


def test_a_change_of_what_it_imports_is_computed(evaluated: Callable[[str], float], tmp_path: Path) -> None:
    first = evaluated("def gain():\n    return 0.9")
    assert evaluated("def gain():  # a comment\n    return 0.9") == first
    assert "cells cached" in (tmp_path / "1" / "run.json").read_text()
    assert evaluated("def gain():\n    return 0.3") < first - 1
    assert evaluated("def gain():\n    return 0.9") == first


def test_a_change_that_the_answer_does_not_show_is_computed(evaluated: Callable[[str], float], tmp_path: Path) -> None:
    """The code counts without the answer, and the answer without the code."""
    evaluated("def gain():\n    return 0.9")
    evaluated("def gain():\n    return 1.8 / 2")
    assert "cells computed" in (tmp_path / "1" / "run.json").read_text()
    (tmp_path / "number").write_text("0.9")
    read = f"import pathlib\ndef gain():\n    return float(pathlib.Path({str(tmp_path / 'number')!r}).read_text())"
    first = evaluated(read)
    (tmp_path / "number").write_text("0.3")
    assert evaluated(read) < first - 1
