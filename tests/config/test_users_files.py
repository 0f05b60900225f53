"""Config files of the user's with a mistake: one short message that says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_environment import ENVIRONMENT
from tests.fuzz.overrides import TINY
from tests.processes import forked

GLOBAL = "# @package _global_\n"


def planned(folder: Path, *arguments: str) -> tuple[int, str]:
    given = ("--config-dir", "mine", *TINY, *arguments, "sweep=plan")
    done = forked("train", *given, cwd=folder, env=ENVIRONMENT, timeout=120)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seed: 3\n", "experiment/e.yaml: its first line has to be '# @package _global_'"),
        (b"\xef\xbb\xbf" + GLOBAL.encode() + b"seed: 3\n", "experiment/e.yaml: its first line has to be"),
        (b"# @package _globl_\nseed: 3\n", "experiment/e.yaml: there is no @package _globl_"),
        (GLOBAL.encode() + b"defaults: pgd\n", "Invalid defaults list in 'experiment/e', defaults must be a list"),
        (
            GLOBAL.encode() + b"defaults:\n  - /attack: pgd\n",
            "attack is in the defaults twice; in the defaults of a file of",
        ),
        (
            GLOBAL.encode() + b"defaults:\n  - override /atack: pgd\n",
            "atack is no key of the config; did you mean attack?",
        ),
        (GLOBAL.encode() + b"seed: \xff\n", "a config file is no UTF-8: save it as that (invalid start byte, byte 27)"),
        (GLOBAL.encode() + b"attack: &a {eps: 0.1, q: *a}\n", "a config file, or the command line, is nested too deep"),
        (GLOBAL.encode() + b"seed: ${sed}\n", "seed: it refers to ${sed}, which is no key of the config"),
    ],
)
def test_an_experiment(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "e.yaml").write_bytes(content)
    code, printed = planned(tmp_path, "experiment=e")
    assert code == 2
    assert printed.strip().splitlines()[-1].startswith(f"error: {said}")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("group", "target"), [("operator", "operators.Identity"), ("algo", "training.OrdTraining")])
def test_an_option_without_a_name(group: str, target: str, tmp_path: Path) -> None:
    (tmp_path / "mine" / group).mkdir(parents=True)
    (tmp_path / "mine" / group / "own.yaml").write_text(f"_target_: invsmooth.{target}\n")
    code, printed = planned(tmp_path, f"{group}=own")
    assert code == 2
    assert f"error: {group}.name has no value" in printed
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
