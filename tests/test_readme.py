"""The Python code of README and docs/use.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

README = Path(__file__).parents[1] / "README.md"
USE = README.parent / "docs" / "use.md"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


BLOCKS = blocks(README)


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


@pytest.mark.parametrize("code", blocks(USE), ids=range(len(blocks(USE))))
def test_block_of_the_guide_runs(
    code: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(USE), "exec"), {})
    said = capsys.readouterr().out
    if "print(certificate)" in code:
        assert "bound (MSE) = " in said
        assert (tmp_path / "certificate.csv").is_file()
    else:
        assert "100 of 101\n101 of 101\n[" in said
