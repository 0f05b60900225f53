"""Every code block of the documentation: Python runs and prints what stands below it, commands are parsed by what they
call, yaml and BibTeX are read."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml

from invsmooth import __version__
from tests.site.blocks import ROOT, Block, blocks, printed
from tests.test_docs import PAGES

LANGUAGES = {"python", "bash", "yaml", "bibtex", "text"}
"""What is tested here; ``text`` is what the block before it printed."""
RUN_ELSEWHERE = {
    "README.md": "tests/test_readme.py runs each block, and checks what the text around it says",
    "use.md": "tests/test_readme.py, too",
    "lipschitz.md": "tests/test_docs_lipschitz.py runs it, and checks the constant",
    "extending.md": "tests/outside runs a training with these files; its test_page.py compares them",
    "columns.md": "needs the rows of a run: tests/records/test_dictionary.py reads their metadata so",
    "report.md": "needs a report: test_report.py beside this file makes one",
}
OUTPUT_OF_COMMANDS = {"sweeps.md": "of sweeps that take minutes and end as the text says"}
"""Pages with ``text`` blocks that no Python printed."""
OWN_ENVIRONMENT = ("deepinv",)
"""Packages that do not go with constraints.txt. Pages that import one are run where it is installed."""
LARGEST_FIGURE = 100_000
BLOCKS = [(page, block) for page in PAGES for block in blocks(page.read_text(encoding="utf-8"))]


def of(language: str) -> list[tuple[Path, Block]]:
    return [(page, block) for page, block in BLOCKS if block.language == language]


def where(value: object) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else f"line{getattr(value, 'line', value)}"


WITH_PYTHON = sorted({page for page, _ in of("python") if page.name not in RUN_ELSEWHERE})


def test_blocks_are_found() -> None:
    assert {language: len(of(language)) > 0 for language in LANGUAGES} == dict.fromkeys(LANGUAGES, True)


def test_every_block_names_a_language_that_is_tested() -> None:
    unknown = [
        f"{where(page)}:{block.line}: {block.language!r}" for page, block in BLOCKS if block.language not in LANGUAGES
    ]
    assert unknown == [], f"known are {sorted(LANGUAGES)}; output is text"


def test_exceptions_exist() -> None:
    assert {page.name for page, _ in of("python")} >= set(RUN_ELSEWHERE)
    assert {page.name for page, _ in of("text")} >= set(OUTPUT_OF_COMMANDS)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=where)
def test_python_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """In an empty folder, the blocks of a page one after the other. Numbers may differ by rounding."""
    text = page.read_text(encoding="utf-8")
    for package in OWN_ENVIRONMENT:
        if re.search(rf"^\s*(import|from) {package}\b", text, re.MULTILINE):
            pytest.importorskip(package)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = dict(printed(page, tmp_path))
    found = blocks(text)
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.language == "python":
            shown = after.code if after is not None and after.language == "text" else ""
            assert same(said[block], shown), f"{where(page)}:{block.line} printed\n{said[block]}"
    figures = set(re.findall(r"!\[[^\]]*\]\(([\w-]+\.png)\)", text))
    assert {path.name for path in tmp_path.glob("*.png")} == figures
    for figure in figures:
        assert (page.parent / figure).stat().st_size <= LARGEST_FIGURE, figure


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def same(left: str, right: str) -> bool:
    """Equal words; numbers within one per cent."""
    words = [NUMBER.sub("#", " ".join(text.split())) for text in (left, right)]
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (left, right)]
    return words[0] == words[1] and bool(np.allclose(*numbers, rtol=0.01, atol=1e-9))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("30.50 dB\n", "30.51 dB", True), ("30.5 dB", "31.5 dB", False), ("True", "False", False), ("", "x", False),
        ("a 1", "a", False),
    ],
)  # fmt: skip
def test_same(left: str, right: str, expected: bool) -> None:
    assert same(left, right) is expected


def test_text_is_what_something_printed() -> None:
    for page in PAGES:
        found = blocks(page.read_text(encoding="utf-8"))
        for before, block in zip([None, *found], found, strict=False):
            if block.language == "text" and page.name not in OUTPUT_OF_COMMANDS:
                assert before is not None, f"{where(page)}:{block.line} has no block before it"
                assert before.language == "python", f"{where(page)}:{block.line} is not the output of a Python block"


@pytest.mark.parametrize(("page", "block"), of("yaml"), ids=where)
def test_yaml_is_read(page: Path, block: Block) -> None:
    assert isinstance(yaml.safe_load(block.code), dict)


@pytest.mark.parametrize(("page", "block"), of("bibtex"), ids=where)
def test_bibtex_has_the_version_and_the_title(page: Path, block: Block) -> None:
    fields = dict(re.findall(r"^  (\w+) += \{+(.*?)\}+,?$", block.code, re.MULTILINE))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert fields["version"] == citation["version"] == __version__
    assert fields["title"] == citation["title"]
    assert fields["author"] == citation["authors"][0]["name"]
    assert fields["license"] == citation["license"]
