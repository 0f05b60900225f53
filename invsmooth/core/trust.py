"""Which classes a file may name (docs/theory.md, "Whom a file is trusted with"). To import a module is
to run it, so one that only a checkpoint or a certificate file names is not imported: it has to be one
of ours or of ``torch.nn``, or the user has to name it, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from invsmooth.core.console import printable
from invsmooth.core.deepinv_install import because_missing
from invsmooth.core.errors import CheckpointError, NotTrusted

if TYPE_CHECKING:
    from torch import nn

ALWAYS = ("invsmooth", "torch.nn")  # packages whose torch modules any file may name


def make_module(description: object, trust: Sequence[str], source: Path) -> nn.Module:
    """The torch module that a file describes: ``_target_``, the dotted name of a class, and its parameters, among which may
    be further modules in the same form. ``_args_`` are parameters without names. No text is interpolated.

    Args:
        trust: dotted names of modules that the user named; each stands for all that is below it. From these a function
            that returns a torch module is taken as well as a class.
        source: the file, for messages.
    Raises: CheckpointError: no such description, a class that is not trusted, or one that cannot be made."""
    try:
        if not isinstance(description, Mapping) or "_target_" not in description:
            raise refused(source, f"names no class (_target_) of its estimator: {printable(repr(description), 200)}")
        module: nn.Module = rebuilt(description, trust, source)
        return module
    except RecursionError as error:  # a list can hold itself
        raise refused(source, "describes an estimator that has parts of parts without end") from error


def rebuilt(value: Any, trust: Sequence[str], source: Path) -> Any:
    if isinstance(value, list | tuple):
        return [rebuilt(v, trust, source) for v in value]
    if not isinstance(value, Mapping):
        return value
    values = {k: rebuilt(v, trust, source) for k, v in value.items()}
    if "_target_" not in values:
        return values
    target, args = values.pop("_target_"), values.pop("_args_", [])
    kind = trusted(target, trust, source)
    if special := sorted(str(k) for k in values if not isinstance(k, str) or (k[:1] == k[-1:] == "_")):
        why = "which a checkpoint cannot keep; take it out of the estimator's config"
        raise refused(source, f"gives {target} the key {special[0]}, {why}")
    try:
        made = kind(*args, **values)
    except CheckpointError:
        raise
    except Exception as error:  # whatever a class raises for parameters that it does not take
        raise refused(source, f"describes an estimator that cannot be made: {target}: {said(error)}") from error
    from torch import nn

    if not isinstance(made, nn.Module):
        raise refused(source, f"names {target}, which gives a {type(made).__name__} and no torch module")
    return made


def trusted(target: object, trust: Sequence[str], source: Path) -> Callable[..., Any]:
    """The estimator's class or function at a dotted name; see :func:`resolve_trusted`. A function has to
    be the user's. Those of ours and torch's are not for files: ``load_checkpoint`` is one."""
    found, defined = resolve_trusted(target, trust, source)
    from torch import nn

    if isinstance(found, type):
        good = issubclass(found, nn.Module)
    else:
        good = callable(found) and covered(defined, trust) and not covered(defined, ALWAYS)
    if not good:
        raise refused(source, f"names {target} as its estimator, which is no torch module class")
    return found


def resolve_trusted(
    target: object, trust: Sequence[str], source: Path, part: str = "estimator"
) -> tuple[Callable[..., Any], str]:
    """What is at a dotted name, and where it is defined. It is imported only if it is trusted; what is found must be defined
    in a trusted module, too (``mine.os.system`` is not defined in ``mine``)."""
    if not isinstance(target, str) or not all(name.isidentifier() for name in target.split(".")):
        raise refused(source, f"names the {part} class {target!r}, which is no dotted name")
    if not covered(target, (*ALWAYS, *trust)):
        raise not_trusted(target, target, source, part)
    try:
        found = resolve_name(target)
    except Exception as error:  # whatever happens while a module is imported
        why = f"{said(error)}{because_missing(error)}"
        raise refused(source, f"needs the {part} class {target}, which cannot be imported: {why}") from error
    defined = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if not covered(defined, (*ALWAYS, *trust)):
        raise not_trusted(target, defined, source, part)
    return found, defined


def covered(name: str, trust: Sequence[str]) -> bool:
    return any(name == t or name.startswith(f"{t}.") for t in trust)


def not_trusted(target: str, defined: str, source: Path, part: str) -> NotTrusted:
    module = defined.rpartition(".")[0] or defined
    where = target if target == defined else f"{target} (which is {defined})"
    return NotTrusted(str(refused(source, (
        f"names the class {where}, and what only a file names is not imported. If you trust the module {module}, name it, "
        f"too: trust=[{module}] or {part}._target_={target} (train, evaluate), --trust {module} (verify), "
        f"load_checkpoint(..., trust=['{module}'])"))))  # fmt: skip


def refused(source: Path, text: str) -> CheckpointError:
    """An error that names the file; nothing in it, which may be from the file, disturbs a terminal."""
    return CheckpointError(f"{printable(source)} {printable(text)}")


def said(error: BaseException) -> str:
    """An error on one line, for errors whose text alone does not say enough (KeyError: 'a')."""
    return f"{type(error).__name__}: {printable(error, 300)}"
