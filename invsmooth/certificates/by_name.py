"""Our certifiers by name: no list, but the classes of this package's modules. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from invsmooth.certificates.certifier import Certifier, Smoothing


def certifiers_in(module: str) -> dict[str, type[Certifier]]:
    """That a module of this package defines, by name; {} also where it needs missing torch."""
    try:
        found = vars(import_module(f"{__package__}.{module}"))
    except ImportError:
        return {}
    own = [c for c in found.values() if isinstance(c, type) and c.__module__ == f"{__package__}.{module}"]
    return {c.name: c for c in own if issubclass(c, Certifier) and not inspect.isabstract(c)}


def modules() -> list[str]:
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def packaged() -> dict[str, type[Certifier]]:
    """All our certifiers, in the order of reports."""
    found = {name: cls for module in modules() for name, cls in certifiers_in(module).items()}
    return dict(sorted(found.items(), key=lambda item: item[1].declared.order))


def certifier_class(name: str) -> type[Certifier]:
    """Our certifier of this name; ValueError if there is none. Its module has the same name, so
    that no other is imported."""
    found = certifiers_in(name) if name in modules() else {}
    if name not in found:
        raise ValueError(f"certifier={name!r} is none of {', '.join(packaged())}")
    return found[name]


def as_certifier(certifier: str | type[Certifier] | Certifier, given: Mapping[str, Any] | None = None) -> Certifier:
    """From a name of ours or a class, with those ``given`` parameters that it has, but no None.
    Raises: ValueError: an unknown name, or a parameter that is missing."""
    if isinstance(certifier, Certifier):
        return certifier
    cls = certifier_class(certifier) if isinstance(certifier, str) else certifier
    if not (isinstance(cls, type) and issubclass(cls, Certifier)):
        raise ValueError(f"certifier={certifier!r} is no name ({', '.join(packaged())}), and no Certifier")
    parameters = inspect.signature(cls).parameters
    values = {k: v for k, v in (given or {}).items() if k in parameters and v is not None}
    if missing := [n for n, p in parameters.items() if p.default is inspect.Parameter.empty and n not in values]:
        raise ValueError(f"certifier={cls.name!r} lacks a parameter: give {', '.join(missing)}")
    return cls(**values)


def why_impossible(
    certifier: str | Certifier, ratio: float, n_samples: int, confidence: float, q: float = 0.5, *,
    simultaneous: str = "none", n_radii: int = 1,
) -> str:  # fmt: skip
    """Why ``certifier`` can give no bound at eps/sigma = ``ratio``, whatever the network, and what
    would; "" where it can.

    The other arguments are those of :func:`invsmooth.certificates.certify`, with ``n_radii`` radii
    asked for together."""
    chosen = as_certifier(certifier)
    smoothing = Smoothing(sigma=1, n_samples=n_samples, confidence=confidence, q=q, simultaneous=simultaneous)
    smoothing.check()
    return chosen.why_impossible(ratio, chosen.each(smoothing, n_radii, apart=False))
