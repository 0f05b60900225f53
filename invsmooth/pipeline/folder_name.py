"""Run folders whose names every terminal, table and file format takes."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from invsmooth.core.console import printable
from invsmooth.core.errors import ConfigError

BIDIRECTIONAL = "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def check_folder_name(folder: Path) -> None:
    """Spaces, signs and letters of any script are fine.
    Raises: ConfigError: the path has characters that control a terminal or turn text round, or bytes that are no UTF-8."""
    path = str(folder.absolute())
    if wrong := [c for c in path if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDIRECTIONAL]:
        raise ConfigError(
            f"the run folder {printable(path, 5000)} has {len(wrong)} characters that do not print, or no UTF-8 "
            f"({printable(wrong[0])}): give another with hydra.run.dir= (or hydra.sweep.dir=), or set INVSMOOTH_ROOT"
        )
