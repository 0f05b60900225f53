"""Which code a key covers."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import nn

import invsmooth
from invsmooth.cache import code
from invsmooth.cache.code import UNKNOWN, code_of, package_key
from invsmooth.estimators.frozen import architecture
from invsmooth.evaluation import result_cache as recall

FILES = {
    "cn_helper.py": "f = 1",
    "cn_middle.py": "from cn_helper import f",
    "cn_pkg/__init__.py": "",
    "cn_pkg/deep.py": "import cn_helper",
    "cn_pkg/near.py": "from . import deep",
    "cn_pkg/down/__init__.py": "",
    "cn_pkg/down/net.py": "from ..near import deep",
    "cn_other.py": "g = 1",
}
"""All but cn_other.py lead to cn_helper.py."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a source file that Python can import."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        code.source_key.cache_clear()

    for name, text in FILES.items():
        written(name, text)
    yield written
    for name in [n for n in sys.modules if n.startswith("cn_")]:
        del sys.modules[name]
    code.source_key.cache_clear()


@pytest.mark.parametrize(
    "text",
    [
        "import cn_helper",
        "from cn_helper import f",
        "from cn_helper import *",
        "import cn_helper as h, json",
        "def forward():\n    import cn_helper",
        "if False:\n    from cn_middle import f",
        "import cn_pkg.deep",
        "from cn_pkg import deep",
        "from cn_pkg.down import net",
        "import importlib\ndef f():\n    importlib.import_module('cn_helper')",
        "h = __import__('cn_helper')",
        "import importlib\nh = importlib.import_module('cn_' + 'helper')",
        "import importlib\nf = importlib.import_module('cn_pkg.' + 'near').deep",
    ],
)
def test_what_a_module_imports_counts(write: Callable[[str, str], None], text: str) -> None:
    write("cn_net.py", text)
    importlib.import_module("cn_net")
    before = code_of(["cn_net"])
    assert before.keys() >= {"cn_net", "cn_helper"}
    write("cn_other.py", "g = 2")
    write("cn_helper.py", "f  =  1  # one")
    assert code_of(["cn_net"]) == before
    write("cn_helper.py", "f = 2")
    assert code_of(["cn_net"]) != before


def test_a_package_above_counts(write: Callable[[str, str], None]) -> None:
    before = code_of(["cn_pkg.down.net"])
    assert before.keys() == {"cn_pkg", "cn_pkg.down", "cn_pkg.down.net", "cn_pkg.near", "cn_pkg.deep", "cn_helper"}
    assert not any(name.startswith("cn_") for name in sys.modules)  # it imports nothing
    write("cn_pkg/__init__.py", "scale = 2")
    assert code_of(["cn_pkg.down.net"]) != before


def test_what_else_is_imported_does_not_matter(write: Callable[[str, str], None]) -> None:
    write("cn_pkg/extra.py", "")
    write("cn_net.py", "import cn_pkg")
    importlib.import_module("cn_net")
    before = code_of(["cn_net"])
    assert before.keys() == {"cn_net", "cn_pkg"}
    for name in ("cn_other", "cn_pkg.extra", "cn_helper"):
        importlib.import_module(name)
    assert code_of(["cn_net"]) == before


def test_what_is_installed_does_not_count(write: Callable[[str, str], None]) -> None:
    write("cn_net.py", "import os, numpy, torch.nn, invsmooth.operators\nfrom scipy import stats\nimport cn_not_there")
    assert code_of(["cn_net"]).keys() == {"cn_net"}
    assert code_of([], ["numpy", "json", "builtins"]) == {}
    assert code_of(["numpy"]).keys() == {"numpy"}  # asked for by name


def test_code_that_cannot_be_read_is_nobody_elses(write: Callable[[str, str], None], tmp_path: Path) -> None:
    assert code_of(["cn_typed_in"]) == {"cn_typed_in": UNKNOWN}
    write("cn_net.py", "this is no Python")
    assert code_of(["cn_net"])["cn_net"] != UNKNOWN
    (tmp_path / "cn_net.py").unlink()
    (tmp_path / "cn_net.py").symlink_to("gone")
    module = type(sys)("cn_net")
    module.__file__ = str(tmp_path / "cn_net.py")
    sys.modules["cn_net"] = module
    code.source_key.cache_clear()
    assert code_of(["cn_net"]) == {"cn_net": UNKNOWN}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy") / "invsmooth"
    shutil.copytree(Path(invsmooth.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__", "conf"))
    return folder


def test_all_of_this_package_counts(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "PACKAGE", package)
    known: dict[Path, str] = {}
    monkeypatch.setattr(code, "source_key", lambda path: known.setdefault(path, path.name))

    def key() -> str:
        package_key.cache_clear()
        return package_key()

    before = key()
    assert known.keys() == set(package.rglob("*.py"))
    assert len(known) > 100
    for name in ("training/backbone.py", "training/fit.py", "records/rows.py"):
        known[package / name] = "changed"
        after = key()
        assert after != before
        before = after
    package_key.cache_clear()


def test_a_line_of_code_counts_and_a_comment_does_not(package: Path) -> None:
    path = package / "core" / "rng.py"
    text = path.read_text()
    line = "    numbers = torch.empty(bits.shape, dtype=torch.float32, device=bits.device)\n"
    assert line in text
    before = code.source_key.__wrapped__(path)
    path.write_text(text.replace(line, f"{line}    # numbers = 0.5 * numbers\n"))
    assert code.source_key.__wrapped__(path) == before
    path.write_text(text.replace(line, f"{line}    numbers = 0.5 * numbers\n"))
    assert code.source_key.__wrapped__(path) != before


def test_results_are_of_this_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = recall.of_estimator("a network", "cpu")
    monkeypatch.setattr(recall, "package_key", lambda: "other")
    assert recall.of_estimator("a network", "cpu") != before


def test_code_of_what_a_network_holds_counts(write: Callable[[str, str], None]) -> None:
    """A function that is set on a module, from a file that the module's class does not import."""
    net = nn.Identity()
    before = architecture(net)["source"]
    write("cn_other.py", "def g(y): return y")
    net.scale = importlib.import_module("cn_other").g
    assert set(architecture(net)["source"]) - set(before) == {"cn_other"}
