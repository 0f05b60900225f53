"""Every line of a shell block is understood by what it calls. ``train`` and ``evaluate``: tests/test_docs_commands.py."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from invsmooth import verify
from invsmooth.config import schema
from invsmooth.data import __main__ as data
from tests.site.blocks import ROOT, blocks
from tests.test_docs import PAGES
from tests.test_docs_commands import COMMAND, SKIPPED, of_first_job

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
NOT_OURS = {
    ".": "activates an environment",
    "wandb": "sends to a server",
    "tensorboard": "serves until it is stopped",
}
OWN_FOLDER = ROOT / "tests" / "outside" / "conf"
"""What docs/extending.md calls conf."""


def lines(code: str) -> list[str]:
    """The commands of a block: continued lines joined, also within quotes."""
    joined = re.sub(r"'[^']*'|\"[^\"]*\"", lambda m: m[0].replace("\n", "\0"), code.replace("\\\n", " "))
    return [line.replace("\0", "\n") for line in joined.splitlines() if shlex.split(line, comments=True)]


def commands(page: Path) -> list[str]:
    """With the variables of the page filled in."""
    found = [
        line for block in blocks(page.read_text(encoding="utf-8")) if block.language == "bash" for line in lines(block.code)
    ]  # fmt: skip
    variables: dict[str, str] = {}
    filled = []
    for line in found:
        for name, value in variables.items():
            line = re.sub(rf"\${name}\b", value, line)
        if assigned := re.match(r"(\w+)='(.*?)'", line, re.DOTALL):
            variables[assigned[1]] = " ".join(assigned[2].split())
        else:
            filled.append(line)
    return filled


FOUND = [(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in commands(page)]


def test_commands_are_found() -> None:
    assert len(FOUND) > 80


@pytest.mark.parametrize(("page", "line"), FOUND)
def test_command_is_understood(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line, comments=True)
    while re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables of the environment
        words = words[1:]
    program, arguments = words[0], words[1:]
    if re.fullmatch(r"(\.venv(-\w+)?/bin/)?python", program):
        python(arguments, line, monkeypatch)
    elif script := PROJECT["scripts"].get(program):
        ours(script.split(":")[0].removesuffix(".__main__"), arguments, line, monkeypatch)
    elif program == "make":
        assert re.search(rf"^{words[1]}:.*##", MAKEFILE, re.MULTILINE), f"no target {words[1]}"
        for setting in words[2:]:
            assert re.search(rf"\b{setting.split('=')[0]}\b", MAKEFILE), setting
    elif program == "sh":
        assert (ROOT / arguments[0]).is_file()
    elif program == "pip":
        installed(arguments)
    else:
        assert program in NOT_OURS, f"{page}: {line}: what tests it?"


def python(arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if arguments[0] == "-c":
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(arguments[1], line, "exec"), {})
        assert said.getvalue()
    elif arguments[1] == "pytest":
        assert (ROOT / arguments[-1]).exists()
    elif arguments[1].startswith("invsmooth."):
        ours(arguments[1], arguments[2:], line, monkeypatch)
    else:
        assert (ROOT / f"{arguments[1].replace('.', '/')}.py").exists(), arguments


def ours(module: str, arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the six commands, or a module that is run."""
    name = module.removeprefix("invsmooth.")
    if name == "records.dictionary":
        assert [Path(argument).name for argument in arguments] == ["results.parquet"]
    elif name == "verify":
        verify.parse(arguments)
    elif name == "data":
        monkeypatch.setattr(sys, "argv", ["data", *arguments])
        data.parse()
    elif not {"--help", "--cfg"} & {*arguments} and "launcher=ray" not in arguments:  # ray: an environment of its own
        if COMMAND.search(line) and not any(skipped in line for skipped in SKIPPED):
            return  # composed by tests/test_docs_commands.py
        composed(name, arguments)


def composed(root: str, arguments: list[str]) -> None:
    if "--config-dir" in arguments:
        at = arguments.index("--config-dir")
        arguments[at : at + 2] = [f"hydra.searchpath=[file://{OWN_FOLDER}]"]
    overrides = [of_first_job(o) for o in arguments if o != "--multirun"]
    schema.register()
    with initialize_config_module("invsmooth.conf", version_base="1.3"):
        compose(root, overrides, return_hydra_config=True)


def installed(arguments: list[str]) -> None:
    """``pip install [-c FILE] [-e] WHAT``: the files are there, the extras are declared."""
    assert arguments[0] == "install"
    for flag, value in pairwise(arguments):
        assert flag not in ("-c", "-r") or (ROOT / value).is_file(), value
    what = re.fullmatch(r"(?:\.|invsmooth)(?:\[(.*)\])?", arguments[-1])
    assert what is not None, arguments[-1]
    assert {*filter(None, (what[1] or "").split(","))} <= PROJECT["optional-dependencies"].keys()
