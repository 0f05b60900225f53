"""Arguments of report, verify and data: one message, exit code 2, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from invsmooth import __version__
from tests.cli.test_environment import ENVIRONMENT
from tests.processes import forked
from tests.reporting.made import row, stored


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("report", "runs has no value: give a glob of run folders"),
        ("report runs=[]", "runs=[] is not allowed; allowed: a path or glob of run folders, or a list"),
        ("report runs={a:1}", "runs={'a': 1} is not allowed"),
        ("report runs=[null]", "is not allowed; allowed: a path or glob"),
        ("report runs=nope", "runs=nope: no results.parquet or audit.parquet there or below"),
        ("report runs=run out=", "out= is not allowed; allowed: the path of a folder"),
        ("report runs=run out=null", "out has no value"),
        ("report runs=run out=/dev/null/x", "out=/dev/null/x cannot be written: Not a directory"),
        ("report runs=run out=/proc/x", "out=/proc/x cannot be written: No such file"),
        ("report runs=run out=run/results.parquet", "out=run/results.parquet cannot be written: File exists"),
        ("report runs=run eps=nan table=robustness", "eps=nan is not allowed; allowed: a finite number >= 0"),
        ("report runs=run eps=7", "eps=7.0 has no effect without table=robustness"),
        ("report runs=run cards=run", "cards=run has no effect without table=robustness"),
        ("report runs=run table=robust", "table=robust is not allowed; allowed: robustness, or null"),
        ("report runs=run table=robustness cards=nope", "cards=nope is no folder"),
        ("report runs=run +x=1", "x is no key of the config; known are runs, out, table, eps, cards"),
        ("report run=x", "run is no key of the config; did you mean runs?"),
        ("report runs=bad\udcff", r"the argument runs=bad\udcff has bytes that are no UTF-8; rename the file or folder, or"),
        ("evaluate data=folder 'data.root=\udcff'", r"'data.root=\udcff' has bytes that are no UTF-8; rename the file or"),
        ("verify bad\udcff", r"bad\udcff: no certificate file there"),
        ("report --outt=x", "unrecognized arguments: --outt=x"),
        ("verify", "the following arguments are required: FILE"),
        ("verify nope", "nope: no certificate file there"),
        ("verify ", "argument FILE: it has no value"),
        ("verify run --rerrun", "unrecognized arguments: --rerrun; did you mean --rerun?"),
        ("verify run --ckpt x", "only mean something with --rerun"),
        ("verify run --max-draws 5", "only mean something with --rerun"),
        ("verify run --rerun --max-draws 0", "--max-draws: 0 is not allowed; allowed: a whole number >= 1"),
        ("verify run --rerun --chunk-size 1e3", "--chunk-size: 1e3 is not allowed; allowed: a whole number"),
        ("verify run --trust os..path", "'os..path' is no name of a module"),
        ("verify run --trust=", "'' is no name of a module"),
        ("data", "the following arguments are required: list|prepare|verify"),
        ("data lst", "invalid choice: 'lst' (choose from 'list', 'prepare', 'verify'); did you mean list?"),
        ("data list nope", "nope is no published data set; known are train400, div2k"),
        ("data list --root=", "--root: it has no value; give a folder"),
        ("data list --root=run/results.parquet", "run/results.parquet is a file; give a folder"),
        ("data verify --root=/dev/null/x", "/dev/null is a file; give a folder"),
        ("data prepare set11 --root=made --mirror=bogus", "--mirror: it is no web address; allowed: https://HOST/"),
        ("data prepare set11 --root=made --mirror=http://[", "--mirror: it is no web address"),
        ("data prepare set11 --root=made --mirror=http://h:99999/", "--mirror: it is no web address"),
        ("data prepare set11 --root=made --mirror=ftp://u:secret@h/", "--mirror: it is no web address"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_one_message(command: str, said: str, tmp_path: Path) -> None:
    stored(tmp_path / "run", row(eps=0.1, sigma=25.0))
    before = sorted(p for p in tmp_path.rglob("*"))
    module, *arguments = command.split(" ")
    done = forked(module, *arguments, cwd=tmp_path, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert sorted(p for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--package", "foo"], "error: --package=foo is a part of what --cfg shows"),
        (["train", "--cfg", "all", "-p", "nothere"], "package 'nothere' not found in config"),
        (["train", "--config-dir", "mine", "algo=broken"], "error: a config file is no YAML: expected ',' or ']'"),
        (
            ["evaluate", "data=custom", "data._target_=tests.data.test_splits.Squares", "estimator=identity"],
            "error: data=custom chooses the images of a",
        ),
    ],
)
def test_what_would_have_no_effect_or_a_trace(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "mine" / "algo").mkdir(parents=True)
    (tmp_path / "mine" / "algo" / "broken.yaml").write_text("a: [1\n")
    before = sorted(tmp_path.rglob("*"))
    done = forked(*arguments, cwd=tmp_path, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_names_given_twice_are_listed_once(tmp_path: Path) -> None:
    done = forked("data", "list", "set11", "set11", "--root=none", cwd=tmp_path, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 0
    assert done.stdout.count(" set11 ") == 1


@pytest.mark.parametrize("command", ["train", "report"])
def test_the_version_is_ours(command: str, tmp_path: Path) -> None:
    done = forked(command, "--version", cwd=tmp_path, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith(f"invsmooth {__version__} (Hydra 1.")
    assert not [*tmp_path.iterdir()]
