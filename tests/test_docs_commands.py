"""Every train and evaluate command of the documentation composes: its groups, options and keys exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from invsmooth.config import schema
from tests.test_docs import PAGES

COMMAND = re.compile(r"python -m invsmooth\.(train|evaluate) (.*)")
SKIPPED = ("--help", "--cfg", "--config-dir", "launcher=ray")
"""Commands that compose nothing, need files of the reader's, or need an environment of their own."""


def blocks(page: Path) -> str:
    """The page's code blocks for a shell, one command a line."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return "\n".join(code for language, code in found if language in ("", "bash", "sh")).replace("\\\n", " ")


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Root config and overrides of each command, with the block's variables filled in."""
    text = blocks(page)
    for name, value in re.findall(r"^(\w+)='(.*?)'", text, re.MULTILINE | re.DOTALL):
        text = re.sub(rf"\${name}\b", re.sub(r"\s+", " ", value), text)
    for line in text.splitlines():
        if (found := COMMAND.search(line)) and not any(skipped in line for skipped in SKIPPED):
            yield found[1], found[2]


def of_first_job(override: str) -> str:
    """``seed=0,1`` names two jobs."""
    key, _, value = override.partition("=")
    return override if value.startswith(("[", "{")) else f"{key}={value.split(',')[0]}"


FOUND = [(page.name, root, text) for page in PAGES for root, text in commands(page)]


def test_commands_are_found() -> None:
    assert len(FOUND) > 20


@pytest.mark.parametrize(("page", "root", "text"), FOUND)
def test_command_composes(page: str, root: str, text: str) -> None:
    overrides = [of_first_job(o) for o in shlex.split(text, comments=True) if o != "--multirun"]
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        compose(root, overrides, return_hydra_config=True)
