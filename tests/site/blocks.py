"""The code blocks of a page, and the run of its Python."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    span: tuple[int, int]
    """Of the code, in the page's text."""


def blocks(text: str) -> list[Block]:
    return [
        Block(m[2], m[3], text.count("\n", 0, m.start()) + 1, m.span(3)) for m in FENCED.finditer(text)
    ]  # fmt: skip


@contextlib.contextmanager
def empty_folder(folder: Path) -> Iterator[None]:
    """Work in ``folder``, which has nothing but a link to docs/: the trained networks are in it."""
    (folder / "docs").symlink_to(ROOT / "docs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def printed(page: Path, folder: Path) -> list[tuple[Block, str]]:
    """Run the page's Python in ``folder``, in one namespace: each block, and what it printed."""
    import matplotlib
    import torch

    matplotlib.use("agg")
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "page"}
    found = []
    with empty_folder(folder):
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language != "python":
                continue
            with contextlib.redirect_stdout(io.StringIO()) as said:
                # Lines before the block are empty, so that an error names the page's line.
                exec(compile("\n" * block.line + block.code, str(page), "exec"), names)
            found.append((block, said.getvalue()))
        if plt := sys.modules.get("matplotlib.pyplot"):
            plt.close("all")
    return found
