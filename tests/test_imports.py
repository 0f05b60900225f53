"""Imports go one way, down the list of layers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import invsmooth
from invsmooth import certificates, data

ROOT = Path(invsmooth.__file__).parent
LAYERS = [
    {"core", "metrics"},
    {"cache"},
    {"operators", "lipschitz"},
    {"estimators"},
    {"attacks", "certificates", "checks", "data"},
    {"records"},
    {"training", "reporting"},
    {"config"},
    {"loggers"},
    {"evaluation"},
    {"sweeps"},
    {"pipeline"},
    {"train", "evaluate", "report", "verify", "audit", "__main__"},
]
"""From the bottom to the top. A module may import from its own layer and from those below."""


def imported(path: Path) -> set[str]:
    """The modules or packages of invsmooth that a file imports, by their first name."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    names = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    found = {n.split(".")[1] for n in names if n.startswith("invsmooth.")}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "invsmooth":
            found |= {alias.name for alias in node.names}
    return found


def test_imports_go_one_way() -> None:
    level = {name: k for k, names in enumerate(LAYERS) for name in names}
    for path in ROOT.rglob("*.py"):
        own = "__main__" if path.name == "__main__.py" else path.relative_to(ROOT).parts[0].removesuffix(".py")
        if own in ("__init__", "conf"):
            continue
        assert own in level, f"{path} has no layer"
        for other in imported(path) - {own}:
            assert level[other] <= level[own], f"{path} imports invsmooth.{other}, which lies above it"


HEAVY = {"torch", "lightning", "torchmetrics", "pandas", "matplotlib", "scipy.stats", "sympy", "wandb", "skimage"}
"""Each takes from a third of a second to two seconds to import."""


def heavy_after(code: str) -> set[str]:
    """Which of them a new process imports."""
    tail = "\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    said = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True).stderr
    return HEAVY & set(said.split())


def test_imports_wait_for_nothing_heavy() -> None:
    """The commands import what they compute with when they compute; a package, what is used of it."""
    commands = ("train", "evaluate", "report", "verify", "audit", "data.__main__")
    packages = ("certificates", "data", "config.schema", "records.certificate_files.format")
    assert heavy_after("\n".join(f"import invsmooth.{name}" for name in (*commands, *packages))) == set()


def test_a_report_needs_no_network() -> None:
    assert not heavy_after("import invsmooth.reporting") & {"torch", "lightning"}


@pytest.mark.parametrize("command", ["train", "report", "verify", "data"])
def test_help_waits_for_nothing_heavy(command: str) -> None:
    module = {"data": "data.__main__"}.get(command, command)
    code = f"""if True:
        import sys
        sys.argv = ["invsmooth", "--help"]
        from invsmooth.{module} import main
        try:
            main()
        except SystemExit as stop:
            assert not stop.code
    """
    assert heavy_after(code) == set()


def test_names_of_lazy_packages_are_those_of_their_modules() -> None:
    for package in (certificates, data):
        assert set(package.MODULES) == set(package.__all__)
        for name in package.__all__:
            assert getattr(package, name).__module__.startswith(package.__name__)


def test_only_units_knows_the_grey_levels() -> None:
    for path in ROOT.rglob("*.py"):
        if path.name not in ("units.py", "figures.py"):
            numbers = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            assert 255 not in numbers, path
