"""The documentation: its links and pictures exist, its lines are short, its words are the project's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LONGEST = 100
INVENTED = re.compile(
    r"\b(sandwich|recall(s|ed|ing)?|told apart|tell(s|ing)? apart|betting|kept draws)\b", re.IGNORECASE
)
"""Words that only this project used. CONTRIBUTING.md has the words that replace them."""


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each line outside code blocks, tables and displayed formulas."""
    block = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*(```|\$\$)", line)
        if fence and not (fence[1] == "$$" and line.rstrip(" .,").endswith("$$") and len(line.strip()) > 2):
            block = "" if block == fence[1] else block or fence[1]
        elif not (block or fence or line.lstrip().startswith("|")):
            yield number, line


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target} does not exist"
        assert not fragment or fragment in anchors(there), f"{page.name}: {target} names no heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_named_in_the_text_exist(page: Path) -> None:
    """``docs/NAME.md`` in prose, tables and code."""
    for name in re.findall(r"\bdocs/[\w/]+\.(?:md|png)", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{page.name}: {name} does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_of_prose_are_short(page: Path) -> None:
    long = [f"{page.name}:{n}: {len(line)}" for n, line in prose(page) if len(line) > LONGEST and " " in line.strip()]
    # A picture's line is its link, which cannot be broken.
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [entry for entry in long if not lines[int(entry.split(":")[1]) - 1].startswith("![")] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_no_invented_words(page: Path) -> None:
    found = [f"{page.name}:{n}: {m[0]}" for n, line in prose(page) if (m := INVENTED.search(line))]
    assert found == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_citation_has_the_version_of_the_package() -> None:
    version = re.search(r'^__version__ = "(.+)"$', (ROOT / "invsmooth/__init__.py").read_text(), re.MULTILINE)
    assert version is not None
    assert f"version: {version[1]}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
