"""The declarations, for reports: headings and formats of columns, and the certifiers in order."""

from __future__ import annotations

from collections.abc import Iterable

from invsmooth.core.declarations import CertifierDeclaration, Column
from invsmooth.records.columns import BASE
from invsmooth.records.rows import Declared

PAPER = "discrepancy"
"""The certifier that Tables 1, 2 and 4 and Figure 1 of the paper are about."""
BEST_OF = "best_of"
"""The column, of a certifier that takes the best of others, with the one that a row is from."""


def columns(declared: Declared) -> dict[str, Column]:
    """All columns with a heading, by name: those of every row, then of the certifiers in order."""
    found = {c.name: c for c in BASE}
    for certifier in certifiers(declared, declared.certifiers):
        found |= {c.name: c for c in certifier.columns if c.heading and c.name not in found}
    return found


def certifiers(declared: Declared, names: Iterable[str]) -> list[CertifierDeclaration]:
    """The declarations of certifiers, in their order."""
    return sorted((certifier(declared, name) for name in set(names)), key=lambda c: (c.order, c.name))


def certifier(declared: Declared, name: str) -> CertifierDeclaration:
    """The declaration of a certifier; the default one if it declared nothing."""
    return declared.certifiers.get(name) or CertifierDeclaration(name, "certified MSE")


def repeats(certifier: CertifierDeclaration) -> bool:
    """Whether its rows repeat the certificates of others, which its column BEST_OF names."""
    return any(column.name == BEST_OF for column in certifier.columns)


def psnr_columns(declared: Declared, names: Iterable[str]) -> dict[str, str]:
    """Of the certifiers that certify a PSNR: their name, and the column with it."""
    return {c.name: c.curves["psnr"] for c in certifiers(declared, names) if "psnr" in c.curves}


def clause(certifier: CertifierDeclaration) -> str:
    """Its statement, as a part of a sentence."""
    return certifier.statement.replace(": ", ", ")


def meaning(column: Column) -> str:
    """Its meaning, as a part of a sentence."""
    return column.meaning.rstrip(".")


def taken_at(certifier: CertifierDeclaration) -> str:
    """The measurement that its draws are of, as a symbol."""
    return "y(x+ξ)" if certifier.at == "attacked" else "y(x)"
