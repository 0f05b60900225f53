"""mkdocs.yml: each page once, what the API pages name, and the strict build where its environment is."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import yaml

from tests.site.blocks import ROOT

DOCS = ROOT / "docs"
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
WITH_ALL = ("attacks", "certificates", "data", "estimators", "operators", "reporting", "training")
"""Packages that say in ``__all__`` what is public; the page of each has that, and no more."""


class Loader(yaml.SafeLoader):
    """Takes the tag of the function that makes anchors for None."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def site() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    return loaded


def pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav if isinstance(nav, list) else nav.values():
            yield from pages(entry)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(pages(site()["nav"]))
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    missing = sorted(there - {*listed})
    assert not missing, f"not in nav of mkdocs.yml, where each page of docs/ needs a line: {', '.join(missing)}"
    assert not {*listed} - there, f"nav of mkdocs.yml names pages that do not exist: {sorted({*listed} - there)}"
    assert len(listed) == len({*listed})


def test_files_that_the_site_names_exist() -> None:
    found = site()
    assert found["strict"] is True
    assert found["theme"]["font"] is False
    for name in (*found["hooks"], "tests/site/docstrings.py"):
        assert (ROOT / name).is_file(), name
    for name in (*found["extra_css"], *found["extra"]["polyfills"]):
        assert (DOCS / name).is_file(), name


@pytest.mark.parametrize("package", WITH_ALL)
def test_api_page_has_the_public_names(package: str) -> None:
    named = DIRECTIVE.findall((DOCS / "api" / f"{package}.md").read_text(encoding="utf-8"))
    assert sorted(name.rpartition(".")[2] for name in named) == sorted(import_module(f"invsmooth.{package}").__all__)


def test_what_the_api_pages_name_exists_and_is_documented() -> None:
    for page in (DOCS / "api").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in DIRECTIVE.findall(text):
            module, _, attribute = name.rpartition(".")
            assert not attribute.startswith("_"), name
            value = getattr(import_module(module), attribute)
            assert value.__doc__ or not isinstance(value, type | FunctionType), name
            assert f"::: {name}\n    options: {{heading: {attribute}, toc_label: {attribute}}}\n" in text, name


def test_the_first_page_of_the_api_has_the_names_of_the_package() -> None:
    text = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[`(\w+)`\]", text, re.MULTILINE)) == sorted(
        {*import_module("invsmooth").__all__} - {"__version__"}
    )


def test_the_environment_of_the_site_has_what_the_extra_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = dict(
        re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints-docs.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for requirement in project["optional-dependencies"]["docs"]:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert name in pinned, requirement


@pytest.mark.skipif(not MKDOCS.exists(), reason="needs the environment that make docs creates")
def test_the_strict_build_has_no_warnings(tmp_path: Path) -> None:
    done = subprocess.run(
        [MKDOCS, "build", "--strict", "--site-dir", tmp_path / "site"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").is_file()
