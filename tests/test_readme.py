"""The README's Python code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_there_is_an_example() -> None:
    assert BLOCKS


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block on its own, and what the text around it says of the result."""
    names: dict[str, Any] = {}
    exec(compile(code, str(README), "exec"), names)
    assert capsys.readouterr().out
    bound = names["certificate"].bound
    assert bound.isfinite().all()
    assert (bound.diff() >= 0).all()
    assert torch.linalg.vector_norm(names["attack"].xi) <= 0.1 + 1e-6
