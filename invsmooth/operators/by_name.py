"""Operators by the name that configs and certificate files use."""

from __future__ import annotations

from pathlib import Path

from invsmooth.operators.base import LinearOperator
from invsmooth.operators.block_gaussian import BlockGaussian
from invsmooth.operators.identity import Identity


def operator_by_name(name: str, *, ratio: float, block: int, seed: int, matrix: str | Path | None) -> LinearOperator:
    """The operator ``name`` with these settings; ``identity`` has none.

    Raises:
        ValueError: an unknown name, or settings that :class:`BlockGaussian` refuses.
        FileNotFoundError: no file at the matrix path.
    """
    if name == "identity":
        return Identity()
    if name == "block_gaussian":
        return BlockGaussian(ratio, block=block, seed=seed, matrix=matrix)
    raise ValueError(f"operator.name={name} is not allowed; allowed: identity, block_gaussian")
