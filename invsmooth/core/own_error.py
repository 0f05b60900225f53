"""An error of the user's own code, in one line."""

from __future__ import annotations

import inspect
import traceback
from typing import Any


def said(error: BaseException, own: Any) -> str:
    """Type and message, and the last line of it in the file of ``own``, a class or a function, or of its class."""
    try:
        file = inspect.getsourcefile(own if inspect.isclass(own) or inspect.isroutine(own) else type(own))
    except TypeError:  # made in a notebook
        file = None
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"{type(error).__name__}: {error}{f' ({file}, line {lines[-1]})' if lines else ''}"
