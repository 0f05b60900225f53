"""What to say where the package deepinv is missing. Nothing here imports it."""

from __future__ import annotations

from importlib.util import find_spec

INSTALL = "pip install 'invsmooth[deepinv]' (docs/deepinv.md)"
MISSING = f"; deepinv is not installed: {INSTALL}"


def if_missing() -> str:
    """The end of a message: how to install deepinv; "" where it is there."""
    return "" if find_spec("deepinv") else MISSING


def because_missing(error: BaseException | None) -> str:
    """The same; "" where an error comes from something else than the missing deepinv."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] == "deepinv":
            return MISSING
        error = error.__cause__ or error.__context__
    return ""
