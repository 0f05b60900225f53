"""What a release consists of. ``make package`` installs and uses it (install.py)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}


@pytest.mark.slow
def test_wheel_from_the_source_archive_carries_the_config(tmp_path: Path) -> None:
    """Built as users build it, unpacked where no checkout is near, run from another folder."""
    build = [sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT]  # the archive, and the wheel from it
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (archive,), (wheel,) = (tmp_path / "dist").glob("*.tar.gz"), (tmp_path / "dist").glob("*.whl")
    with tarfile.open(archive) as source:
        named = {name.partition("/")[2] for name in source.getnames()}
    assert {f"invsmooth/conf/{name}" for name in CONFIG} <= named
    assert {"README.md", "LICENSE", "CITATION.cff", "mkdocs.yml", "constraints-docs.txt", "conf/train.yaml"} <= named
    with zipfile.ZipFile(wheel) as unpacked:
        unpacked.extractall(tmp_path / "site")
        installed = set(unpacked.namelist())
    assert {f"invsmooth/conf/{name}" for name in CONFIG} | {"invsmooth/data/checksums/bsd68.txt"} <= installed
    assert not [name for name in installed if name.startswith(("tests/", "docs/", "conf/"))]
    elsewhere = tmp_path / "a folder"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    use = {"cwd": elsewhere, "env": environment, "capture_output": True, "text": True, "check": True, "timeout": 300}
    done = subprocess.run([sys.executable, "-m", "invsmooth.train", "--help"], **use)
    assert "quickstart" in done.stdout
    where = subprocess.run([sys.executable, "-c", "import invsmooth; print(invsmooth.__file__)"], **use)
    assert str(tmp_path / "site") in where.stdout


def test_citation_has_what_the_format_asks_for() -> None:
    """Citation File Format 1.2.0: its required keys, and no key that it does not have."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    allowed = {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords",
        "license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact",
        "repository-code", "title", "type", "url", "version",
    }  # fmt: skip
    assert citation.keys() <= allowed
    assert citation["type"] in ("software", "dataset")
    for author in citation["authors"]:
        assert {"name", "family-names"} & author.keys()
    for reference in citation["references"]:
        assert {"authors", "title", "type"} <= reference.keys()


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@pytest.mark.parametrize("form", [form for form in FORMS if form.name != "config.yml"], ids=lambda form: form.stem)
def test_issue_form_is_one(form: Path) -> None:
    """Keys and kinds of fields that the code host knows; each answer has a name of its own."""
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= content.keys() <= {"name", "description", "title", "labels", "body"}
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert fields
    assert {field["type"] for field in fields} <= {"textarea", "input", "dropdown", "checkboxes"}
    assert len({field["id"] for field in fields}) == len(fields)
    for field in fields:
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] in ("dropdown", "checkboxes"))


def test_there_is_a_form_for_each_kind() -> None:
    assert {form.stem for form in FORMS} == {"bug", "config", "question", "unsound_certificate"}
    assert "- [ ]" in (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")


def test_each_command_has_a_script() -> None:
    scripts = re.findall(r'^invsmooth-(\w+) = "invsmooth\.', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    install = (ROOT / "tests" / "packaging" / "install.py").read_text(encoding="utf-8")
    assert sorted(re.findall(r'"(\w+)"', install.split("SCRIPTS = ")[1].split("\n")[0])) == sorted(scripts)
