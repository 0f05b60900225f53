"""The certifiers of a config: ``certify._target_``, or several (``certify.certifiers``)."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from invsmooth.config.parts import as_list, construct, free_parameters, load_class, packaged, takes
from invsmooth.config.schema import OPEN
from invsmooth.core.declarations import CertifierDeclaration
from invsmooth.core.errors import ConfigError


def certifier_classes(node: DictConfig) -> list[Any]:
    """The classes of the chosen certifiers, in the order of the config.
    Raises: ConfigError: an unknown name, or a class that cannot be imported."""
    if node.certifiers is None:
        return [load_class(node.get("_target_"), "certify")]
    if not as_list(node.certifiers):
        known = ", ".join(packaged("certify"))
        raise ConfigError(f"certify.certifiers=[] is not allowed; allowed: null, one or a list of {known}")
    return [certifier_class(str(name), node.get("_target_")) for name in as_list(node.certifiers)]


def certifier_class(name: str, target: str | None) -> Any:
    """The certifier of a name: one of ours, that of ``certify._target_``, or a dotted path."""
    known = packaged("certify")
    if name in known or "." in name:
        return load_class(known.get(name, name), "certify")
    own = load_class(target, "certify") if target else None
    if getattr(own, "name", None) != name:
        allowed = f"one of or a list of {', '.join(known)}, or dotted paths of classes"
        raise ConfigError(f"certify.certifiers={name} is not allowed; allowed: {allowed}")
    return own


def build_certifiers(node: DictConfig) -> list[Any]:
    """The chosen certifiers, each with the free parameters that it has. Raises: ConfigError: one cannot be made."""
    given = free_parameters(node, OPEN["certify"].keys)
    made = [construct(c, {k: v for k, v in given.items() if takes(c, k)}, "certify") for c in certifier_classes(node)]
    for certifier in made:
        if not isinstance(getattr(certifier, "declared", None), CertifierDeclaration):
            what = f"certify: {type(certifier).__name__} has no declared = CertifierDeclaration(…)"
            raise ConfigError(f"{what}, which rows, tables and figures need; docs/extending.md has an example")
    return made
