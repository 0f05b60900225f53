"""Hashes of source code: of this package, and of the user's code behind a network or algorithm."""

from __future__ import annotations

import ast
import functools
import hashlib
import secrets
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from invsmooth.cache.content import content_key

PACKAGE = Path(__file__).parents[1]
STDLIB = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})
# The hash of code that cannot be read (an interactive session): differs in every process.
UNKNOWN = f"unknown {secrets.token_hex(16)}"


@functools.cache
def package_key() -> str:
    """Hash of all source of this package: no list of files that could be incomplete."""
    return content_key({f.relative_to(PACKAGE).as_posix(): source_key(f) for f in sorted(PACKAGE.rglob("*.py"))})


@functools.cache
def source_key(path: Path) -> str:
    """Hash of a source file without comments and layout. Read once: it is the code that runs."""
    try:
        content = path.read_bytes()
    except OSError:
        return UNKNOWN
    tree = parsed(content)
    return hashlib.sha256(content if tree is None else ast.dump(tree).encode()).hexdigest()


def parsed(content: bytes) -> ast.Module | None:
    """None if it is no Python source."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return None


def code_of(modules: Iterable[str], more: Iterable[str] = ()) -> dict[str, str]:
    """Name -> hash of the source of ``modules`` and ``more``, and of all that they import, directly or
    not. Without this package (:func:`package_key`), the standard library and installed packages,
    unless they are among ``modules`` themselves. The imports are read from the source: other imports
    of this process do not matter."""
    roots, found = set(modules), dict[str, str]()
    waiting, seen = [*roots, *more], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] == "invsmooth":
            continue
        seen.add(name)
        path, is_package = locate(name)
        if path is None and name in roots:
            found[name] = UNKNOWN
        if path is None or (is_installed(path) and name not in roots):
            continue
        found[name] = source_key(path)
        if not is_installed(path) and found[name] != UNKNOWN:
            waiting += [*imported(path, name, is_package), *in_namespace(name), name.rpartition(".")[0]]
    return found


def is_installed(path: Path) -> bool:
    folders = {"site-packages", "dist-packages"}
    return not folders.isdisjoint(path.parts) or any(path.resolve().is_relative_to(p) for p in STDLIB)


def locate(name: str) -> tuple[Path | None, bool]:
    """The file of a module (None if there is none), and whether it is a package."""
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__file__", None):
        return Path(str(module.__file__)).absolute(), hasattr(module, "__path__")
    spec = find_spec(name)
    if spec is None or not spec.has_location or spec.origin is None:
        return None, False
    return Path(spec.origin).absolute(), spec.submodule_search_locations is not None


def find_spec(name: str) -> ModuleSpec | None:
    """As importlib.util.find_spec, but without importing the parent package."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return spec
    places = None
    if above := name.rpartition(".")[0]:
        package = find_spec(above)
        if package is None or package.submodule_search_locations is None:
            return None
        places = list(package.submodule_search_locations)
    found = (finder.find_spec(name, places) for finder in sys.meta_path)
    return next((s for s in found if s is not None), None) if name else None


def imported(path: Path, name: str, is_package: bool) -> Iterator[str]:
    """The modules that a source file imports. A name imported from a package may be one."""
    tree = parsed(path.read_bytes())
    package = name if is_package else name.rpartition(".")[0]
    for node in ast.walk(tree) if tree else ():
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from with_parents(alias.name)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = absolute("." * level + (module or ""), package)
                yield from with_parents(base)
                yield from (f"{base}.{alias.name}" for alias in names if base and alias.name != "*")
            case ast.Call(
                func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(text)), *_]
            ) if called in ("import_module", "__import__"):
                yield from with_parents(absolute(text, package))


def absolute(name: str, package: str) -> str:
    """A relative name made absolute; "" above the topmost package."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return ""


def with_parents(name: str) -> Iterator[str]:
    """a.b.c -> a, a.b, a.b.c: importing the last imports all."""
    parts = name.split(".")
    return (".".join(parts[: k + 1]) for k in range(len(parts)) if name)


def in_namespace(name: str) -> Iterator[str]:
    """The modules of the values in a module's namespace (imported by computed names), but for its
    own submodules, which any other module may have imported."""
    for value in list(vars(sys.modules[name]).values()) if name in sys.modules else ():
        other = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(other, str) and not other.startswith(f"{name}."):
            yield other
