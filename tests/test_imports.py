"""Imports go one way, down the list of layers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import invsmooth

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


def test_reports_need_no_network() -> None:
    """A report, and --help, do not wait for torch and Lightning to be imported."""
    code = """if True:
        import sys
        import invsmooth.audit, invsmooth.evaluate, invsmooth.report, invsmooth.reporting, invsmooth.train, invsmooth.verify
        sys.exit(len({"torch", "lightning"} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_units_knows_the_grey_levels() -> None:
    for path in ROOT.rglob("*.py"):
        if path.name not in ("units.py", "figures.py"):
            numbers = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
            assert 255 not in numbers, path
