"""The declarations of our certifiers and algorithms, for rows made by hand."""

from __future__ import annotations

from invsmooth import training
from invsmooth.certificates.by_name import packaged
from invsmooth.core.declarations import AlgorithmDeclaration
from invsmooth.records.rows import Declared

CERTIFIERS = tuple(c.declared for c in packaged().values())
CLASSES = [vars(training)[name] for name in training.__all__ if name.endswith("Training")]
ALGORITHMS: tuple[AlgorithmDeclaration, ...] = tuple(sorted((c.declared for c in CLASSES), key=lambda a: a.order))
DECLARED = Declared({c.name: c for c in CERTIFIERS}, {a.name: a for a in ALGORITHMS})
