"""docs/extending.md shows the files of this folder as they are: the tests beside this one run its code."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_code_block_is_a_file_that_the_tests_run() -> None:
    assert len(BLOCKS) == len(re.findall(r"^```(?:python|yaml)$", PAGE, re.MULTILINE))
    for name, code in BLOCKS:
        assert code.strip() in (HERE / name).read_text(encoding="utf-8"), name


def test_every_part_is_shown_in_full() -> None:
    shown = {name for name, _ in BLOCKS}
    files = [*(HERE / "my_lab").glob("*.py"), *(HERE / "conf").rglob("*.yaml")]
    assert {f.relative_to(HERE).as_posix() for f in files} - {"my_lab/__init__.py"} <= shown
    for name, code in BLOCKS:
        if name != "test_conformance.py":
            assert code == (HERE / name).read_text(encoding="utf-8"), name
