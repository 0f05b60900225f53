"""Keys of code: of this package, and of the user's code that a network or an algorithm is made of."""

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
INSTALLED = ("site-packages", "dist-packages")
UNKNOWN = f"unknown {secrets.token_hex(16)}"
"""In place of code that cannot be read, such as a class that was typed into an interpreter: no other process has it."""


@functools.cache
def package_key() -> str:
    """Hash of all source of this package. No list says which files count, so none can be forgotten."""
    return content_key({f.relative_to(PACKAGE).as_posix(): source_key(f) for f in sorted(PACKAGE.rglob("*.py"))})


@functools.cache
def source_key(path: Path) -> str:
    """Hash of a file of code; comments and layout do not count. Read once in a process: the code that runs is what was
    loaded, whatever becomes of the file."""
    try:
        content = path.read_bytes()
    except OSError:
        return UNKNOWN
    tree = parsed(content)
    return hashlib.sha256(content if tree is None else ast.dump(tree).encode()).hexdigest()


def parsed(content: bytes) -> ast.Module | None:
    """None for what is no Python source, such as a compiled module."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return None


def code_of(modules: Iterable[str], more: Iterable[str] = ()) -> dict[str, str]:
    """Name -> hash of the source of ``modules``, and of all that they import, directly or not. Left out are this package
    (:func:`package_key`), the standard library and what is installed in site-packages, but for ``modules`` themselves.

    Which imports there are is read off the source, so that it does not depend on what else this process has imported.

    Args:
        modules: names of modules whose code certainly counts.
        more: further names, left out where they are installed.
    """
    roots = set(modules)
    found: dict[str, str] = {}
    waiting, seen = [*roots, *more], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.split(".")[0] == "invsmooth":
            continue
        seen.add(name)
        path, is_package = locate(name)
        if path is None:
            if name in roots:
                found[name] = UNKNOWN
            continue
        if is_installed(path) and name not in roots:
            continue
        found[name] = source_key(path)
        if not is_installed(path) and found[name] != UNKNOWN:
            waiting += [*imported(path, name, is_package), *in_namespace(name), name.rpartition(".")[0]]
    return found


def is_installed(path: Path) -> bool:
    """Whether a file belongs to the standard library or to an installed package."""
    return any(part in INSTALLED for part in path.parts) or any(path.resolve().is_relative_to(p) for p in STDLIB)


def locate(name: str) -> tuple[Path | None, bool]:
    """The file of a module, and whether it is a package. None where it has no file, or where there is no such module."""
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__file__", None):
        return Path(str(module.__file__)).absolute(), hasattr(module, "__path__")
    spec = find_spec(name)
    if spec is None or not spec.has_location or spec.origin is None:
        return None, False
    return Path(spec.origin).absolute(), spec.submodule_search_locations is not None


def find_spec(name: str) -> ModuleSpec | None:
    """Where an import would find a module. Unlike importlib's, this imports nothing, not even the package above."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return spec
    above, _, _ = name.rpartition(".")
    places = None
    if above:
        package = find_spec(above)
        if package is None or package.submodule_search_locations is None:
            return None
        places = list(package.submodule_search_locations)
    found = (finder.find_spec(name, places) for finder in sys.meta_path)
    return next((s for s in found if s is not None), None) if name else None


def imported(path: Path, name: str, is_package: bool) -> Iterator[str]:
    """The modules that a source file imports, wherever in it. A name that is imported from a package may be a module."""
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
            ):
                if called in ("import_module", "__import__"):
                    yield from with_parents(absolute(text, package))


def absolute(name: str, package: str) -> str:
    """A relative name made absolute; "" where it leads out of the topmost package."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return ""


def with_parents(name: str) -> Iterator[str]:
    """a.b.c -> a, a.b, a.b.c: importing the last imports all."""
    parts = name.split(".")
    return (".".join(parts[: k + 1]) for k in range(len(parts)) if name)


def in_namespace(name: str) -> Iterator[str]:
    """The modules of what a module has in its namespace, which finds those that importlib imported by a computed name. The
    submodules of a package are left out: whoever imports them puts them there."""
    for value in list(vars(sys.modules[name]).values()) if name in sys.modules else ():
        other = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(other, str) and not other.startswith(f"{name}."):
            yield other
