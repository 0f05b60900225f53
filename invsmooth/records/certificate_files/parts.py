"""The certifiers that a file names: ours by name, others by a trusted class. No torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invsmooth.certificates.by_name import certifier_class
from invsmooth.certificates.certifier import Certifier
from invsmooth.core.errors import CheckpointError
from invsmooth.records.certificate_files.fields import FROM_OUTSIDE
from invsmooth.records.certificate_files.format import CertificateFileError


def class_of(certificate: Mapping[str, Any], path: Path, trust: Sequence[str]) -> type[Certifier]:
    """The class of a certificate's certifier. ``path``: for messages; ``trust``: modules that the
    user named. Raises: CertificateFileError: there is no such class, or it is not trusted."""
    name = certificate.get("certifier")
    try:
        if "_target_" not in certificate:
            return certifier_class(name if isinstance(name, str) else repr(name))
        from invsmooth.core.trust import resolve_trusted

        found, _ = resolve_trusted(certificate["_target_"], trust, path, "certifier")
    except (ValueError, CheckpointError) as error:
        raise CertificateFileError(f"{'_target_' if '_target_' in certificate else 'certifier'}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Certifier) and found.name == name):
        raise CertificateFileError(f"_target_: {certificate['_target_']} is no certifier named {name!r}")
    return found


def own_fields(kind: type[Certifier], certificate: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a certificate beside the common ones."""
    return kind.fields(certificate) | ({} if is_ours(kind) else FROM_OUTSIDE)


def is_ours(kind: type[Certifier]) -> bool:
    return kind.__module__.startswith("invsmooth.certificates.")


def certifier_of(certificate: Mapping[str, Any], path: Path, trust: Sequence[str]) -> Certifier:
    """The certifier with its recorded parameters; those of ours are fields of the certificate.
    Raises: CertificateFileError: its class refuses the parameters."""
    kind = class_of(certificate, path, trust)
    try:
        if not is_ours(kind):
            return kind(**certificate["parameters"])
        return kind(**{name: certificate[name] for name in inspect.signature(kind).parameters})
    except Exception as error:  # whatever a class raises for parameters that it does not take
        raise CertificateFileError(f"certifier: {certificate['certifier']} cannot be made: {error}") from error


def described(certifier: Certifier) -> dict[str, Any]:
    """What names a certifier in a file."""
    found = {"certifier": certifier.name, "anytime": bool(getattr(certifier, "anytime", False))}
    kind, own = type(certifier), certifier.parameters
    outside = {"_target_": f"{kind.__module__}.{kind.__qualname__}", "parameters": own}
    return found | (own if is_ours(kind) else outside)
